"""The step programs of one model: traced once for each mode and shape of batch, and kept."""

import collections
import contextlib
import dataclasses
import sys
import warnings
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import tensorflow as tf

from trainer.engine import step_program, variables
from trainer.engine.engine import Executable
from trainer.engine.spec import EstimatorSpec, ModeKeys, TPUEstimatorSpec
from trainer.engine.step_program import StepProgram, StepResult
from trainer.engine.tf_engine import TfEngine
from trainer.estimator import model_steps, seed_counter, sequential_names
from trainer.estimator.tpu_context import Deployment

_T = TypeVar("_T")


@dataclasses.dataclass
class ModelPrograms:
    """Traces a model_fn and keeps what came of it.

    Fields:
      call: calls the model_fn: `call(features, labels, mode, deployment)` returns a spec.
      seed: graph-level random seed of every trace.
      num_input_seeds: by mode, how many seeds the latest calls of its input_fn have taken from the graph's counter.
    """

    call: Callable[[Any, Any, str, Deployment], Any]
    seed: int | None = None
    store: variables.VariableStore = dataclasses.field(default_factory=variables.VariableStore)
    num_input_seeds: dict[str, int] = dataclasses.field(default_factory=dict)
    _executables: dict[Any, Executable] = dataclasses.field(default_factory=dict)
    _companions: dict[int, Any] = dataclasses.field(default_factory=dict)

    def trace(self, mode: str, batch_spec: Any, deployment: Deployment) -> StepProgram:
        """Returns the step of a mode, traced anew.

        Raises:
          TypeError: the model_fn returned no spec.
        """

        def model_call(features: Any, labels: Any) -> Any:
            seed_counter.advance(self.num_input_seeds.get(mode, 0))
            spec = self.call(features, labels, mode, deployment)
            _check_spec(spec, mode, deployment)
            return spec

        step_fn = model_steps.MAKE_STEP[mode](model_call)
        step_fn = model_steps.outfeeding(step_fn, from_first_replica=deployment.is_broadcast(mode))
        program = self.trace_step(step_fn, batch_spec, deployment, counts_runs=mode != ModeKeys.TRAIN)
        # Before any step: what their variables hold now is what an evaluation begins with.
        self.store.mark_local(getattr(program.payload, "metric_variables", ()))
        return program

    def executable(self, mode: str, batch_spec: Any, deployment: Deployment) -> Executable:
        """Returns the step of a mode, ready to run: the same one whenever it is asked for the same batch.

        A training whose input has taken other seeds has a step of its own, for it draws other random numbers.
        """
        num_seeds = self.num_input_seeds.get(mode, 0) if mode == ModeKeys.TRAIN else 0
        key = (mode, deployment.engine, _spec_key(batch_spec), num_seeds)
        if key not in self._executables:
            self._executables[key] = deployment.engine.load(self.trace(mode, batch_spec, deployment))
        return self._executables[key]

    def companion(self, executable: Executable, make: Callable[[Executable], _T]) -> _T:
        """Returns what was made for a kept executable, made now if it was not; lives as long as the executable."""
        if id(executable) not in self._companions:
            self._companions[id(executable)] = make(executable)
        return self._companions[id(executable)]

    def trace_step(
        self,
        step_fn: Callable[[Any], StepResult],
        batch_spec: Any,
        deployment: Deployment,
        *,
        counts_runs: bool = False,
    ) -> StepProgram:
        """Traces any step function with the variables of this model; `counts_runs` as in `step_program.trace_step`."""
        sequential_names.as_in_graphs()
        with fresh_keras_names(), _without_summary_warning(), self.store.forgetting_on_failure():
            context = deployment.engine.replica_context()
            return step_program.trace_step(step_fn, batch_spec, self.store, context, self.seed, counts_runs=counts_runs)


def trace_on_host(step_fn: Callable[[Any], StepResult], structure: Any) -> Executable:
    """Returns a step that runs on this host with variables of its own, such as metrics.

    Args:
      step_fn: see `step_program.trace_step`.
      structure: nest of arrays or tensors like those that it will be called with; axis 0 may differ later.
    """
    with fresh_keras_names(), _without_summary_warning():
        specs = tf.nest.map_structure(_row_spec, structure)
        return TfEngine().load(step_program.trace_step(step_fn, specs, variables.VariableStore()))


@contextlib.contextmanager
def fresh_keras_names() -> Iterator[None]:
    """Lets Keras number its layers from the start, as in a new graph: a layer has the same name at each trace."""
    if "keras" not in sys.modules:
        yield
        return
    from keras.src.backend.common import global_state  # noqa: PLC0415 - only when the program itself uses Keras

    name = "object_name_uids"
    before = global_state.get_global_attribute(name)
    global_state.set_global_attribute(name, collections.defaultdict(int))
    try:
        yield
    finally:
        global_state.set_global_attribute(name, before)


@contextlib.contextmanager
def _without_summary_warning() -> Iterator[None]:
    """Ours carry the summaries of TensorFlow 1 to the events: no writer of TensorFlow 2 is needed."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Cannot activate TF2 compatibility support for TF1 summary ops")
        yield


def _row_spec(value: Any) -> tf.TensorSpec:
    shape = tf.TensorShape(value.shape)
    return tf.TensorSpec(shape if not shape.rank else [None, *shape[1:]], value.dtype)


def _spec_key(batch_spec: Any) -> Any:
    flat = tf.nest.flatten(batch_spec, expand_composites=True)
    structure = tf.nest.map_structure(lambda spec: None, batch_spec)
    return repr(structure), tuple((str(spec.shape), spec.dtype) for spec in flat)


def _check_spec(spec: Any, mode: str, deployment: Deployment) -> None:
    if not isinstance(spec, (EstimatorSpec, TPUEstimatorSpec)):
        raise TypeError(f"model_fn should return an EstimatorSpec or TPUEstimatorSpec, got {type(spec).__name__}")
    if spec.mode != mode:
        raise ValueError(f"model_fn was called in mode {mode!r} and returned a spec of mode {spec.mode!r}")
    if not deployment.is_tpu or isinstance(spec, TPUEstimatorSpec):
        return
    if mode == ModeKeys.EVAL:
        raise RuntimeError("TPUEstimatorSpec must be used when evaluating on a TPU: eval_metrics run on the host")
    if mode == ModeKeys.TRAIN and spec.training_chief_hooks:
        raise ValueError("training_chief_hooks returned by EstimatorSpec is not supported on a TPU; use training_hooks")
