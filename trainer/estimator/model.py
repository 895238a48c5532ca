"""What training, evaluation, prediction and export of one model share."""

import contextlib
import copy
import functools
import posixpath
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import tensorflow as tf
from absl import logging

from trainer.engine.spec import ModeKeys
from trainer.engine.step_program import StepProgram
from trainer.estimator import calls, input_source, parameters
from trainer.estimator import warm_start as warm_starts
from trainer.estimator.checkpoints import CheckpointDirectory, DamagedCheckpointError, RetentionPolicy
from trainer.estimator.input_source import BatchStream
from trainer.estimator.interrupts import Interrupts
from trainer.estimator.model_programs import ModelPrograms
from trainer.estimator.model_state import FirstValues, ModelState, restore_names
from trainer.estimator.replica_batches import ReplicaLayout
from trainer.estimator.run_config import RunConfig
from trainer.estimator.session import StepSession
from trainer.estimator.tpu_context import BATCH_SIZE_NAMES, Deployment

_KERAS_2_REMEDY = (
    "Layers and cells of TensorFlow 1 need Keras 2: install tf_keras, and set TF_USE_LEGACY_KERAS=1 in the environment "
    "before TensorFlow is imported"
)


class Model:
    """A model_fn with its parameters, its variables and programs, its directory and where it runs.

    Args:
      model_fn: the program's.
      params: the program's, for model_fn and input_fn.
      config: with a `model_dir`.
      deployment_of: gives where a mode runs; called when that is first needed.
      warm_start_from: path or `WarmStartSettings`, or None.
      injects_params: whether model_fn and input_fn get `batch_size`, `use_tpu` and `context` in their params.
    """

    def __init__(
        self,
        model_fn: Callable[..., Any],
        params: Any,
        config: RunConfig,
        deployment_of: Callable[[str], Deployment],
        warm_start_from: Any = None,
        *,
        injects_params: bool = False,
    ):
        self.model_fn = model_fn
        self.params = params
        self.config = config
        self.model_dir = str(config.model_dir)
        self.deployment_of = functools.cache(deployment_of)
        self.programs = ModelPrograms(self.call_model_fn, config.tf_random_seed)
        self.directory = CheckpointDirectory(
            self.model_dir, RetentionPolicy(config.keep_checkpoint_max, config.keep_checkpoint_every_n_hours)
        )
        self.state = ModelState(self.programs.store, self.directory)
        self.interrupts = Interrupts()
        self.is_training = False
        self._scaffolds: dict[int, tuple[StepProgram, Any]] = {}
        self._warm_start_from = warm_starts.checked(warm_start_from)
        self._injects_params = injects_params

    def isolated(self) -> "Model":
        """Returns the same model with variables of its own."""
        return Model(
            self.model_fn,
            self.params,
            self.config,
            self.deployment_of,
            self._warm_start_from,
            injects_params=self._injects_params,
        )

    def eval_dir(self, name: str | None = None) -> str:
        """Returns where the events of an evaluation go."""
        return posixpath.join(self.model_dir, f"eval_{name}" if name else "eval")

    def streams(self, input_fn: Callable[..., Any], mode: str, start_step: int = 0) -> list[BatchStream]:
        """Calls an input_fn as often as its deployment asks for.

        Raises:
          KeyError: it asks for the batch size of a mode that has none.
        """
        deployment = self.deployment_of(mode)
        try:
            streams = [
                input_source.call(
                    input_fn, self._input_arguments(deployment, mode, call, start_step), self.programs.seed
                )
                for call in range(deployment.input_calls(mode))
            ]
        except KeyError as error:
            if error.args != ("batch_size",) or not self._injects_params:
                raise
            name = BATCH_SIZE_NAMES[mode]
            raise KeyError(f"input_fn asks for params['batch_size']: pass {name}=... to TPUEstimator") from error
        self.programs.num_input_seeds[mode] = sum(stream.num_seeds for stream in streams)
        return streams

    def layout(self, streams: Sequence[BatchStream], mode: str) -> ReplicaLayout:
        """Returns how the batches of an input_fn reach the replicas."""
        return ReplicaLayout(streams[0].element_spec, self.deployment_of(mode), mode)

    def initialise(self, program: StepProgram) -> None:
        """Gives the variables of a model without a checkpoint what it begins with, in the order of TensorFlow 1.

        First what model_fn and scaffold_fn ask for by `init_from_checkpoint`, then the warm start, then the Scaffold's
        `init_fn`.
        """
        session = StepSession(program.trace)
        scaffold = self.scaffold(program)
        session.run(program.trace.initializers())
        if self._warm_start_from is not None:
            warm_starts.warm_start(self.programs.store, self._warm_start_from)
        if scaffold is not None and scaffold.init_fn is not None:
            with session.graph.as_default():
                # The Scaffold has bound itself to it.
                scaffold.init_fn(session)
        self.state.changed()

    def checkpoint_or_latest(self, path: str | None, purpose: str) -> str | None:
        """Returns the checkpoint to use; None, with a warning, when the model has not been trained.

        Raises:
          UserError: there are checkpoints, and none can be read; or the one that is asked for is not there.
        """
        # A checkpoint of TensorFlow before 0.12 is one file.
        if path is not None and not any(map(tf.io.gfile.exists, (f"{path}.index", path))):
            remedy = "give its path without .index or .data-..."
            raise DamagedCheckpointError("no such checkpoint", where=path, remedy=remedy)
        path = path or self.state.newest_path()
        if path is None:
            logging.warning("no trained model in %s: running initialization to %s", self.model_dir, purpose)
        return path

    def first_values(self, program: StepProgram) -> FirstValues:
        """Returns what a program of a model without a checkpoint begins with, for later."""
        if not self.is_training:
            self.initialise(program)
        return self.present_values(program)

    def present_values(self, program: StepProgram) -> FirstValues:
        """Returns what a program's variables hold now, for later."""
        saved = self.programs.store.saved
        own = {name: one for name, one in saved.items() if any(one is other for other in program.variables)}
        return FirstValues({name: variable.numpy() for name, variable in own.items()})

    @contextlib.contextmanager
    def holding(self, origin: str | FirstValues | None, *programs: StepProgram) -> Iterator[None]:
        """Inside the `with` block, programs that do not train have the values of a checkpoint, or first values.

        A scaffold may say which variable comes from which name; that of the first program counts. None stands for the
        first values of the model, as they are.
        """
        if origin is None:
            if not self.is_training:
                self.initialise(programs[0])
            yield
            return
        if isinstance(origin, FirstValues):
            names = {name: name for name in origin.values}
        else:
            names = {name: other for p in reversed(programs) for name, other in self._names_in_checkpoint(p).items()}
        with self.state.holding(origin, names, put_back=self.is_training):
            yield

    @contextlib.contextmanager
    def holding_present(self, program: StepProgram) -> Iterator[None]:
        """Inside the `with` block, a program has the values that a checkpoint saved now would give it."""
        with self.state.showing(self._names_in_checkpoint(program)):
            yield

    def _names_in_checkpoint(self, program: StepProgram) -> Mapping[str, str]:
        """Returns the name in a checkpoint for each variable of a program, and for the global step: hooks may ask."""
        variables = [*program.variables, self.programs.store.global_step]
        return restore_names(program.trace, variables, self.scaffold(program))

    def scaffold(self, program: StepProgram) -> Any:
        """Returns the Scaffold of a program, or None; asks for it once: it adds to a graph."""
        if id(program) not in self._scaffolds:
            make_scaffold = program.payload.make_scaffold
            with program.trace.extending():
                scaffold = make_scaffold() if make_scaffold else None
            # The program is kept too, so that its id stays its own.
            self._scaffolds[id(program)] = program, scaffold
        return self._scaffolds[id(program)][1]

    def call_model_fn(self, features: Any, labels: Any, mode: str, deployment: Deployment) -> Any:
        """Calls the model_fn with the parameters that it gets in a deployment; returns its spec."""
        # What a program does to its parameters is for this call alone.
        params = copy.deepcopy(self.params)
        if self._injects_params:
            params = parameters.injected(
                params,
                batch_size=deployment.model_batch_size(mode),
                use_tpu=deployment.is_tpu,
                context=deployment.model_context(mode) if deployment.is_tpu else None,
            )
        try:
            return calls.model_fn(self.model_fn, features, labels, mode, params=params, config=self.config)
        except AttributeError as error:
            if "not available with Keras 3" not in str(error):
                raise
            raise AttributeError(f"{error} {_KERAS_2_REMEDY}") from error

    def _input_arguments(self, deployment: Deployment, mode: str, call: int, start_step: int) -> Mapping[str, Any]:
        params = {} if self.params is None else copy.deepcopy(self.params)
        if self._injects_params:
            params = parameters.injected(
                params,
                batch_size=deployment.input_batch_size(mode),
                context=deployment.input_context(mode, call) if deployment.is_tpu else None,
            )
        arguments = {"params": params, "config": self.config, "mode": mode, "input_context": _input_context(deployment)}
        return {**arguments, "start_step": start_step} if mode == ModeKeys.TRAIN else arguments


def _input_context(deployment: Deployment) -> tf.distribute.InputContext | None:
    if deployment.num_hosts == 1:
        return None
    return tf.distribute.InputContext(deployment.num_hosts, deployment.host, deployment.num_replicas)
