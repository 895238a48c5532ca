"""What a model_fn returns: one value that says everything about a mode of the model.

`TPUEstimatorSpec` is the one to write new programs with; `EstimatorSpec` is what programs for the plain `Estimator`
return. Both are checked when they are made, so that a mistake is reported where it was made.
"""

import dataclasses
import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Self

import tensorflow as tf


class ModeKeys:
    """Why a model_fn is called."""

    TRAIN = "train"
    EVAL = "eval"
    PREDICT = "infer"


_MODES = (ModeKeys.TRAIN, ModeKeys.EVAL, ModeKeys.PREDICT)


class TakenForNamedTuple:
    """Gives a dataclass the methods of a named tuple that programs call: it was one in TensorFlow 1."""

    def _replace(self, **changes: Any) -> Self:
        return dataclasses.replace(self, **changes)  # type: ignore[type-var]

    def _asdict(self) -> dict[str, Any]:
        return {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}  # type: ignore[arg-type]


@dataclasses.dataclass(frozen=True)
class EstimatorSpec(TakenForNamedTuple):
    """The result of a model_fn of the plain `Estimator`.

    Fields:
      mode: one of `ModeKeys`.
      predictions: tensor, or mapping of tensors `[batch, ...]`; required to predict.
      loss: scalar (or `[1]`) tensor; required to train and evaluate.
      train_op: operation or tensor whose evaluation is one step of training; required to train.
      eval_metric_ops: name to `(value, update_op)`, Keras metric, or `trainer.nn.metrics.AdditiveMetric`.
      export_outputs: signature name to export output.
      training_chief_hooks, training_hooks, evaluation_hooks, prediction_hooks: `SessionRunHook`s.
      scaffold: `tf.compat.v1.train.Scaffold`, for its saver (which variables come from which name) and init_fn.
    """

    mode: str
    predictions: Any = None
    loss: Any = None
    train_op: Any = None
    eval_metric_ops: Mapping[str, Any] | None = None
    export_outputs: Mapping[str, Any] | None = None
    training_chief_hooks: Sequence[Any] | None = None
    training_hooks: Sequence[Any] | None = None
    scaffold: Any = None
    evaluation_hooks: Sequence[Any] | None = None
    prediction_hooks: Sequence[Any] | None = None

    def __post_init__(self):
        _set(self, loss=_checked_spec_parts(self))
        # As in TensorFlow 1: programs that wrap a model_fn add to them.
        _set(self, predictions={} if self.predictions is None else self.predictions)
        _set(self, eval_metric_ops={} if self.eval_metric_ops is None else self.eval_metric_ops)
        if not isinstance(self.scaffold, tf.compat.v1.train.Scaffold | None):
            raise TypeError(f"scaffold must be tf.compat.v1.train.Scaffold, got {self.scaffold!r}")
        for name in ("training_chief_hooks", "training_hooks", "evaluation_hooks", "prediction_hooks"):
            _set(self, **{name: _checked_hooks(name, getattr(self, name))})


@dataclasses.dataclass(frozen=True)
class TPUEstimatorSpec(TakenForNamedTuple):
    """The result of a model_fn of `TPUEstimator`.

    Fields as in `EstimatorSpec`, but:
      eval_metrics: `(metric_fn, tensors)`: `metric_fn` is called on the host with the list's tensors by position, or
        the mapping's by name, each concatenated over replicas on axis 0 (so none may be a scalar). It returns name
        to `(value, update_op)`, Keras metric, or `trainer.nn.metrics.AdditiveMetric`.
      scaffold_fn: called without arguments; returns a `tf.compat.v1.train.Scaffold`.
      host_call: `(host_fn, tensors)`, called on the host after each training step, tensors as in `eval_metrics`.
      scalars: ours: name to scalar tensor (train mode). Each is averaged over replicas and written to TensorBoard
        under its name, and to the log, every `log_step_count_steps`. `loss` is there without asking.
    """

    mode: str
    predictions: Any = None
    loss: Any = None
    train_op: Any = None
    eval_metrics: tuple[Callable[..., Any], Any] | None = None
    export_outputs: Mapping[str, Any] | None = None
    scaffold_fn: Callable[[], Any] | None = None
    host_call: tuple[Callable[..., Any], Any] | None = None
    training_hooks: Sequence[Any] | None = None
    evaluation_hooks: Sequence[Any] | None = None
    prediction_hooks: Sequence[Any] | None = None
    scalars: Mapping[str, Any] | None = None

    def __post_init__(self):
        _set(self, loss=_checked_spec_parts(self))
        check_host_function("eval_metrics", self.eval_metrics)
        check_host_function("host_call", self.host_call)
        for name in ("training_hooks", "evaluation_hooks", "prediction_hooks"):
            _set(self, **{name: _checked_hooks(name, getattr(self, name))})
        for name, tensor in (self.scalars or {}).items():
            if tf.TensorShape(tensor.shape).rank not in (0, None):
                raise ValueError(f"TPUEstimatorSpec.scalars[{name!r}] must be a scalar, got shape {tensor.shape}")

    def as_estimator_spec(self) -> EstimatorSpec:
        """Returns the equivalent spec of a plain Estimator; calls `eval_metrics` and `scaffold_fn` here and now.

        The host call is left out: a plain Estimator has none.
        """
        return EstimatorSpec(
            mode=self.mode,
            predictions=self.predictions,
            loss=self.loss,
            train_op=self.train_op,
            eval_metric_ops=call_host_function(self.eval_metrics) if self.eval_metrics else None,
            export_outputs=self.export_outputs,
            training_hooks=self.training_hooks,
            scaffold=self.scaffold_fn() if self.scaffold_fn else None,
            evaluation_hooks=self.evaluation_hooks,
            prediction_hooks=self.prediction_hooks,
        )


def call_host_function(function_and_tensors: tuple[Callable[..., Any], Any]) -> Any:
    """Calls `(fn, tensors)` as `eval_metrics` and `host_call` are: a mapping by name, a sequence by position."""
    function, tensors = function_and_tensors
    return function(**tensors) if isinstance(tensors, Mapping) else function(*tensors)


def check_host_function(name: str, value: Any) -> None:
    """Checks a `(fn, tensors)` pair of a TPUEstimatorSpec.

    Raises:
      ValueError: it is not such a pair, or the function does not take these tensors.
    """
    if value is None:
        return
    if not isinstance(value, (tuple, list)) or len(value) != 2 or not callable(value[0]):
        raise ValueError(f"TPUEstimatorSpec.{name} must be a pair (function, tensors), got {value!r}")
    function, tensors = value
    if not isinstance(tensors, (tuple, list, Mapping)):
        raise ValueError(
            f"TPUEstimatorSpec.{name}[1] must be a tuple, list or dict of tensors, got {type(tensors).__name__}; "
            f"wrap a single tensor in a list"
        )
    _check_arguments(name, function, tensors)


def _check_arguments(name: str, function: Callable[..., Any], tensors: Any) -> None:
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):
        return
    try:
        if isinstance(tensors, Mapping):
            signature.bind(**tensors)
        else:
            signature.bind(*tensors)
    except TypeError as error:
        given = f"tensors named {sorted(tensors)}" if isinstance(tensors, Mapping) else f"{len(tensors)} tensors"
        raise ValueError(
            f"TPUEstimatorSpec.{name} gives {given}, which does not match the arguments of the function, "
            f"{getattr(function, '__name__', function)}{signature}: {error}"
        ) from error


def _checked_spec_parts(spec: EstimatorSpec | TPUEstimatorSpec) -> Any:
    """Checks what both kinds of spec share; returns the loss as a scalar."""
    if spec.mode not in _MODES:
        raise ValueError(f"mode must be one of {', '.join(_MODES)} (see ModeKeys), got {spec.mode!r}")
    required = {
        ModeKeys.TRAIN: ("loss", "train_op"),
        ModeKeys.EVAL: ("loss",),
        ModeKeys.PREDICT: ("predictions",),
    }[spec.mode]
    for name in required:
        if getattr(spec, name) is None:
            raise ValueError(f"Missing {name}: mode {spec.mode!r} needs {' and '.join(required)} in the spec")
    for name, value in (spec.predictions if isinstance(spec.predictions, Mapping) else {"": spec.predictions}).items():
        if value is not None and not tf.is_tensor(value):
            where = f"predictions[{name!r}]" if name else "predictions"
            raise TypeError(f"{where} must be a tensor, got {type(value).__name__}; name several: {{name: tensor}}")
    if spec.train_op is not None and not isinstance(spec.train_op, (tf.Tensor, tf.Operation, tf.Variable)):
        raise TypeError(f"train_op must be an operation or a tensor, got {type(spec.train_op).__name__}")
    if spec.export_outputs is not None and not isinstance(spec.export_outputs, Mapping):
        raise TypeError(f"export_outputs must be a mapping, got {type(spec.export_outputs).__name__}")
    return _scalar_loss(spec.loss)


def _scalar_loss(loss: Any) -> Any:
    if loss is None:
        return None
    if not isinstance(loss, (tf.Tensor, tf.Variable)):
        raise TypeError(f"loss must be a tensor, got {type(loss).__name__}")
    if loss.shape.rank == 0:
        return loss
    if loss.shape.is_compatible_with([1]):
        return tf.reshape(loss, [])
    raise ValueError(f"Loss must be scalar, got shape {loss.shape}; take its mean over the batch")


def _checked_hooks(name: str, hooks: Any) -> tuple[Any, ...]:
    checked = tuple(hooks or ())
    for hook in checked:
        if not isinstance(hook, tf.compat.v1.train.SessionRunHook):
            raise TypeError(f"All hooks must be SessionRunHook instances, given in {name}: {hook!r}")
    return checked


def _set(frozen: Any, **values: Any) -> None:
    for name, value in values.items():
        object.__setattr__(frozen, name, value)
