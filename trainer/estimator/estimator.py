"""`Estimator`: trains, evaluates, predicts with and exports what a model_fn describes."""

import copy
import os
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
from absl import logging

from trainer import model_directory
from trainer.engine.spec import ModeKeys
from trainer.engine.tf_engine import TfEngine
from trainer.errors import UserError
from trainer.estimator import calls, checkpoints, evaluation, export, prediction, training
from trainer.estimator.eager import eager_iterator, eagerly
from trainer.estimator.evaluation import Evaluation
from trainer.estimator.export import Predictor
from trainer.estimator.export_outputs import InputReceiver
from trainer.estimator.model import Model
from trainer.estimator.run_config import RunConfig
from trainer.estimator.tpu_context import Deployment
from trainer.estimator.training import TrainingLimits

_PUBLIC_METHODS = (
    "train", "evaluate", "predict", "export_saved_model", "latest_checkpoint", "get_variable_names",
    "get_variable_value", "eval_dir", "experimental_export_all_saved_models",
)  # fmt: skip


class UntrainedModelError(UserError, ValueError):
    """There is no checkpoint where one is needed."""


class _ExportDir(str):
    """The directory of an export, as text that can be decoded: the original's was bytes, and programs decode it."""

    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> str:
        """Returns itself."""
        del encoding, errors
        return str(self)


class _ModelOfThread(threading.local):
    """The model that each thread has, `own`; a copy has none yet."""

    def __deepcopy__(self, memo: dict[int, Any]) -> "_ModelOfThread":
        return _ModelOfThread()


class Estimator:
    """A model_fn, the directory of its checkpoints, and what one does with them.

    Args:
      model_fn: `model_fn(features, labels, mode, params, config)`, or fewer of these; returns an `EstimatorSpec`.
      model_dir: where checkpoints and events go; a temporary directory if neither this nor the config gives one.
      config: a `RunConfig`.
      params: passed to model_fn and input_fn.
      warm_start_from: path of a checkpoint, or `WarmStartSettings`: first values of a model not yet trained.

    Raises:
      ValueError: the model_fn's signature, the directories or the parameters do not fit together.
    """

    @eagerly
    def __init__(
        self,
        model_fn: Callable[..., Any] | None,
        model_dir: str | os.PathLike | None = None,
        config: RunConfig | None = None,
        params: Any = None,
        warm_start_from: Any = None,
    ):
        if model_fn is None:
            raise ValueError("model_fn must be provided to Estimator")
        _check_no_public_method_is_overridden(type(self))
        calls.check_model_fn(model_fn, params)
        self._config = _with_model_dir(config if config is not None else self._default_config(), model_dir)
        self._params = copy.deepcopy(params) if params is not None else {}
        self._first_model = Model(
            model_fn,
            params=self._params if params is not None else None,
            config=self._config,
            deployment_of=self._deployment,
            warm_start_from=warm_start_from,
            injects_params=self._injects_params,
        )
        self._models = _ModelOfThread()
        self._models.own = self._first_model

    @property
    def _model(self) -> Model:
        """The model of this thread: variables and traces are for one thread at a time. They meet in the model_dir."""
        if not hasattr(self._models, "own"):
            self._models.own = self._first_model.isolated()
        return self._models.own

    # What TPUEstimator does otherwise.
    _injects_params = False

    def _default_config(self) -> RunConfig:
        return RunConfig()

    def _deployment(self, mode: str) -> Deployment:
        del mode
        return Deployment(TfEngine())

    @property
    def model_dir(self) -> str:
        """Where checkpoints and events go."""
        return self._model.model_dir

    @property
    def config(self) -> RunConfig:
        """A copy of the configuration."""
        return copy.copy(self._config)

    @property
    def params(self) -> Any:
        """A copy of the parameters."""
        return copy.deepcopy(self._params)

    @property
    def model_fn(self) -> Callable[..., Any]:
        """The model_fn, to be called with features, labels, mode and config; the parameters are filled in."""

        def public_model_fn(features: Any, labels: Any, mode: str, config: RunConfig) -> Any:
            model = self._model
            return calls.model_fn(model.model_fn, features, labels, mode, params=model.params, config=config)

        return public_model_fn

    def eval_dir(self, name: str | None = None) -> str:
        """Returns where the events of evaluation `name` go."""
        return self._model.eval_dir(name)

    @eagerly
    def latest_checkpoint(self) -> str | None:
        """Returns the path of the newest checkpoint, None if there is none."""
        return self._model.directory.latest()

    @eagerly
    def get_variable_names(self) -> list[str]:
        """Returns the names in the newest checkpoint.

        Raises:
          ValueError: the model has not been trained.
          DamagedCheckpointError: its newest checkpoint cannot be read.
        """
        path = self._trained_checkpoint(self.latest_checkpoint())
        with checkpoints.damage_told(path):
            return [name for name, _ in tf.train.list_variables(path)]

    @eagerly
    def get_variable_value(self, name: str) -> np.ndarray:
        """Returns the value of a variable in the newest checkpoint.

        Raises:
          ValueError: the model has not been trained.
          DamagedCheckpointError: its newest checkpoint cannot be read.
          tf.errors.NotFoundError: there is no such variable in it.
        """
        path, name = self._trained_checkpoint(self.latest_checkpoint()), name.partition(":")[0]
        found = checkpoints.read(path, [name])
        return found[name] if found else tf.train.load_variable(path, name)

    @eagerly
    def train(
        self,
        input_fn: Callable[..., Any],
        hooks: Sequence[Any] | None = None,
        steps: int | None = None,
        max_steps: int | None = None,
        saving_listeners: Sequence[Any] | None = None,
    ) -> "Estimator":
        """Trains, from the newest checkpoint on, and saves a checkpoint at the end.

        Args:
          input_fn: returns a Dataset of `(features, labels)`, or such tensors; takes any of `params`, `config`,
            `mode`, `input_context` and `start_step` (the global step that its first batch is for).
          hooks: `SessionRunHook`s; a `ProgressHook` hears of the progress.
          steps: steps to train for, from where the model is.
          max_steps: global step to train up to. Without either, training ends with the data.
          saving_listeners: `tf.compat.v1.train.CheckpointSaverListener`s.

        Returns:
          self.

        Raises:
          NanLossError: the loss or a weight is not finite; names the step and the last good checkpoint.
          KeyboardInterrupt: on SIGINT, after saving.
          SystemExit: with status 143 on SIGTERM, after saving.
        """
        limits = TrainingLimits(steps, max_steps)
        training.train(self._model, input_fn, limits, _checked_hooks(hooks), _checked_listeners(saving_listeners))
        return self

    @eagerly
    def evaluate(
        self,
        input_fn: Callable[..., Any],
        steps: int | None = None,
        hooks: Sequence[Any] | None = None,
        checkpoint_path: str | None = None,
        name: str | None = None,
    ) -> dict[str, Any]:
        """Evaluates a checkpoint, the newest by default.

        Args:
          input_fn: as in `train`.
          steps: batches to evaluate; None for all data, every example once.
          hooks: `SessionRunHook`s.
          checkpoint_path: a checkpoint of this model.
          name: tells evaluations on several data apart, in the name of the directory of events.

        Returns:
          The metrics by name, with `loss` (mean over steps) and `global_step`.
        """
        return evaluation.evaluate(self._model, input_fn, steps, _checked_hooks(hooks), checkpoint_path, name)

    @eagerly
    def evaluate_present(self, on: Evaluation, name: str | None = None) -> dict[str, Any]:
        """Evaluates the model as it is in the middle of training, without a checkpoint; otherwise as `evaluate`.

        For hooks: see `InMemoryEvaluatorHook`.
        """
        return evaluation.evaluate_present(self._model, on, name)

    def predict(
        self,
        input_fn: Callable[..., Any],
        predict_keys: Sequence[str] | str | None = None,
        hooks: Sequence[Any] | None = None,
        checkpoint_path: str | None = None,
        yield_single_examples: bool = True,
    ) -> Iterator[Any]:
        """Yields predictions, in the order of the input.

        Args:
          input_fn: returns a Dataset of features; labels, if there are any, are left aside.
          predict_keys: names of the predictions that are wanted; None for all.
          hooks: `SessionRunHook`s.
          checkpoint_path: a checkpoint of this model; None for the newest.
          yield_single_examples: False yields a batch at a time.
        """
        keys = [predict_keys] if isinstance(predict_keys, str) else predict_keys
        predictions = prediction.predict(
            self._model,
            input_fn,
            keys,
            _checked_hooks(hooks),
            checkpoint_path,
            yield_single_examples=yield_single_examples,
        )
        return eager_iterator(predictions)

    @eagerly
    def export_saved_model(
        self,
        export_dir_base: str,
        serving_input_receiver_fn: Callable[[], InputReceiver],
        assets_extra: Mapping[str, str] | None = None,
        as_text: bool = False,
        checkpoint_path: str | None = None,
        experimental_mode: str = ModeKeys.PREDICT,
    ) -> str:
        """Writes the predictions of a checkpoint as a SavedModel; returns its directory.

        Args:
          export_dir_base: the directory of all exports; each is named by the time.
          serving_input_receiver_fn: returns a `ServingInputReceiver`.
          assets_extra: by path below `assets.extra`, files to copy.
          as_text: whether the graph is written as text (`saved_model.pbtxt`).
          checkpoint_path: a checkpoint of this model; None for the newest.
          experimental_mode: see `experimental_export_all_saved_models`.

        Raises:
          ValueError: the model has not been trained.
        """
        receiver_fns = {experimental_mode: serving_input_receiver_fn}
        return self.experimental_export_all_saved_models(
            export_dir_base, receiver_fns, assets_extra, as_text, checkpoint_path
        )

    def export_savedmodel(
        self,
        export_dir_base: str,
        serving_input_receiver_fn: Callable[[], InputReceiver],
        assets_extra: Mapping[str, str] | None = None,
        as_text: bool = False,
        checkpoint_path: str | None = None,
        strip_default_attrs: bool = False,
    ) -> str:
        """Is TensorFlow 1's name of `export_saved_model`; `strip_default_attrs` is accepted, of no effect."""
        del strip_default_attrs
        return self.export_saved_model(
            export_dir_base, serving_input_receiver_fn, assets_extra, as_text, checkpoint_path
        )

    @eagerly
    def experimental_export_all_saved_models(
        self,
        export_dir_base: str,
        input_receiver_fn_map: Mapping[str, Callable[[], InputReceiver]],
        assets_extra: Mapping[str, str] | None = None,
        as_text: bool = False,
        checkpoint_path: str | None = None,
    ) -> str:
        """Writes several modes of a checkpoint as one SavedModel; returns its directory.

        The signatures of prediction are as in `export_saved_model`. That of training is named `train`, and trains; that
        of evaluation `eval`. Their outputs are `loss`, `predictions/...` and `metrics/NAME/{value,update_op}`. Each
        mode is a graph with its own tag, `serve`, `train` or `eval`; variables are stored once.

        Args:
          export_dir_base: as in `export_saved_model`.
          input_receiver_fn_map: by mode, what returns a `ServingInputReceiver` or `SupervisedInputReceiver`.
          assets_extra, as_text, checkpoint_path: as in `export_saved_model`.

        Raises:
          ValueError: the model has not been trained, or there is no mode.
        """
        path = checkpoint_path or self._trained_checkpoint(self._model.state.newest_path())
        base = tf.compat.as_str(os.fspath(export_dir_base))
        return _ExportDir(
            export.export_saved_model(self._model, base, input_receiver_fn_map, path, assets_extra, as_text=as_text)
        )

    @eagerly
    def predictor(self, checkpoint_path: str | None = None) -> Predictor:
        """Returns the predictions of a checkpoint, the newest by default, as a function of features.

        Raises:
          ValueError: the model has not been trained.
        """
        path = checkpoint_path or self._trained_checkpoint(self._model.state.newest_path())
        return Predictor(self._model, path)

    def _trained_checkpoint(self, path: str | None) -> str:
        if path is None:
            raise UntrainedModelError(f"Couldn't find trained model at {self.model_dir}", remedy="call train() first")
        return path


def _with_model_dir(config: RunConfig, model_dir: str | os.PathLike | None) -> RunConfig:
    if not isinstance(config, RunConfig):
        raise ValueError(f"config must be an instance of RunConfig, but provided {config!r}")
    given = os.fspath(model_dir) if model_dir is not None else None
    if given and config.model_dir and given != config.model_dir:
        raise ValueError(
            f"`model_dir` are set both in constructor and `RunConfig`, but with different values: {given!r} and "
            f"{config.model_dir!r}; give it once"
        )
    if given or config.model_dir:
        chosen = given or config.model_dir
        model_directory.require_plain_name(str(chosen))
        return config.replace(model_dir=chosen)
    temporary = tempfile.mkdtemp()
    logging.warning("Using temporary folder as model directory: %s", temporary)
    return config.replace(model_dir=temporary)


def _check_no_public_method_is_overridden(estimator_class: type) -> None:
    for name in _PUBLIC_METHODS:
        owner = next((owner for owner in estimator_class.__mro__ if name in vars(owner)), Estimator)
        if not owner.__module__.startswith("trainer.estimator"):
            raise ValueError(
                f"Subclasses of Estimator cannot override {name}: it is how other programs use them; "
                f"{estimator_class.__name__} does"
            )


def _checked_hooks(hooks: Sequence[Any] | None) -> list[Any]:
    checked = list(hooks or ())
    for hook in checked:
        if not isinstance(hook, tf.compat.v1.train.SessionRunHook):
            raise TypeError(f"Hooks must be a SessionRunHook, given: {hook!r}")
    return checked


def _checked_listeners(listeners: Sequence[Any] | None) -> list[Any]:
    checked = list(listeners or ())
    for listener in checked:
        if not isinstance(listener, tf.compat.v1.train.CheckpointSaverListener):
            raise TypeError(f"saving_listeners must be a list of CheckpointSaverListener, given: {listener!r}")
    return checked
