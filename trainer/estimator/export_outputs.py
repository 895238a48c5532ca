"""What an exported signature takes and gives: `ServingInputReceiver` and the three kinds of output."""

import dataclasses
import types
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import tensorflow as tf

from trainer.engine.spec import ModeKeys
from trainer.nn.metrics import AdditiveMetric

_constants = tf.compat.v1.saved_model.signature_constants
DEFAULT_SIGNATURE = _constants.DEFAULT_SERVING_SIGNATURE_DEF_KEY
# By mode, how what is exported of it is called; each output to predict with says so itself.
SUPERVISED_METHODS = types.MappingProxyType(
    {ModeKeys.TRAIN: "tensorflow/supervised/training", ModeKeys.EVAL: "tensorflow/supervised/eval"}
)
_SINGLE_FEATURE = "feature"
_SINGLE_LABEL = "label"
_SINGLE_RECEIVER = "input"
_SINGLE_OUTPUT = "output"


@dataclasses.dataclass(frozen=True)
class TensorServingInputReceiver:
    """What a serving_input_receiver_fn returns for a model_fn that takes a lone tensor as it is.

    Fields:
      features: what the model_fn gets: a tensor, or a mapping of tensors.
      receiver_tensors: what callers give: a placeholder, or a mapping of placeholders.
      receiver_tensors_alternatives: by name, other sets of placeholders to feed in place of `receiver_tensors`.
    """

    features: Any
    receiver_tensors: Any
    receiver_tensors_alternatives: Mapping[str, Any] | None = None

    def __post_init__(self):
        if self.features is None:
            raise ValueError(f"features must be defined in {type(self).__name__}")
        if self.receiver_tensors is None:
            raise ValueError(f"receiver_tensors must be defined in {type(self).__name__}")
        object.__setattr__(self, "receiver_tensors", _named(self.receiver_tensors, _SINGLE_RECEIVER))
        for name, tensor in self.receiver_tensors.items():
            if not isinstance(tensor, (tf.Tensor, tf.SparseTensor)):
                raise ValueError(
                    f"receiver_tensor {name} must be a Tensor or SparseTensor, got {type(tensor).__name__}"
                )
        alternatives = self.receiver_tensors_alternatives
        if alternatives is not None and not isinstance(alternatives, Mapping):
            raise ValueError(f"receiver_tensors_alternatives must be a dict, got {type(alternatives).__name__}")


@dataclasses.dataclass(frozen=True)
class ServingInputReceiver(TensorServingInputReceiver):
    """What a serving_input_receiver_fn returns: the model_fn gets `{"feature": tensor}` for a lone tensor."""

    def __post_init__(self):
        super().__post_init__()
        object.__setattr__(self, "features", _named(self.features, _SINGLE_FEATURE))


@dataclasses.dataclass(frozen=True)
class SupervisedInputReceiver:
    """What an input_receiver_fn for training and evaluation returns.

    Fields:
      features, labels: what the model_fn gets.
      receiver_tensors: what callers give: a placeholder, or a mapping of placeholders.
    """

    features: Any
    labels: Any
    receiver_tensors: Any

    def __post_init__(self):
        for name in ("features", "labels", "receiver_tensors"):
            if getattr(self, name) is None:
                raise ValueError(f"{name} must be defined in SupervisedInputReceiver")
        object.__setattr__(self, "receiver_tensors", _named(self.receiver_tensors, _SINGLE_RECEIVER))


InputReceiver = TensorServingInputReceiver | SupervisedInputReceiver


@dataclasses.dataclass(frozen=True)
class PredictOutput:
    """Outputs of any kind: a tensor, or a mapping of tensors."""

    outputs: Any
    method: ClassVar[str] = _constants.PREDICT_METHOD_NAME

    def __post_init__(self):
        object.__setattr__(self, "outputs", _named(self.outputs, _SINGLE_OUTPUT))

    def signature_outputs(self) -> Mapping[str, tf.Tensor]:
        """Returns the outputs of the signature, by name."""
        return self.outputs


@dataclasses.dataclass(frozen=True)
class ClassificationOutput:
    """`scores`, float `[batch, num_classes]`, and `classes`, text `[batch, num_classes]`; at least one of them."""

    scores: tf.Tensor | None = None
    classes: tf.Tensor | None = None
    method: ClassVar[str] = _constants.CLASSIFY_METHOD_NAME

    def __post_init__(self):
        if self.scores is None and self.classes is None:
            raise ValueError("Cannot create a ClassificationOutput with empty arguments")
        if self.scores is not None and not self.scores.dtype.is_floating:
            raise ValueError(f"Classification scores must be a float32 Tensor; got {self.scores}")
        if self.classes is not None and self.classes.dtype != tf.string:
            raise ValueError(f"Classification classes must be a string Tensor; got {self.classes}")

    def signature_outputs(self) -> Mapping[str, tf.Tensor]:
        """Returns the outputs of the signature, by name."""
        return {name: value for name, value in vars(self).items() if value is not None}


@dataclasses.dataclass(frozen=True)
class RegressionOutput:
    """`value`, float `[batch]`."""

    value: tf.Tensor
    method: ClassVar[str] = _constants.REGRESS_METHOD_NAME

    def __post_init__(self):
        if not self.value.dtype.is_floating:
            raise ValueError(f"Regression output value must be a float32 Tensor; got {self.value}")

    def signature_outputs(self) -> Mapping[str, tf.Tensor]:
        """Returns the outputs of the signature, by name."""
        return {"outputs": self.value}


ExportOutput = PredictOutput | ClassificationOutput | RegressionOutput


def by_signature(export_outputs: Mapping[str, Any] | None, predictions: Any) -> dict[str, ExportOutput]:
    """Returns the output of each signature; the predictions under the default name when the spec names none.

    Raises:
      ValueError: there are several, and none has the default name.
      TypeError: one of them is no export output.
    """
    given: dict[str, ExportOutput] = dict(export_outputs or {DEFAULT_SIGNATURE: PredictOutput(predictions)})
    for name, output in given.items():
        if not isinstance(output, ExportOutput):
            raise TypeError(f"Values in export_outputs must be ExportOutput objects, got {output!r} for {name}")
    if len(given) == 1:
        given.setdefault(DEFAULT_SIGNATURE, next(iter(given.values())))
    if DEFAULT_SIGNATURE not in given:
        raise ValueError(
            f"Multiple export_outputs were provided, but none of them is specified as the default; give one the name "
            f"{DEFAULT_SIGNATURE!r}"
        )
    return given


def call_form(method: str, receiver_tensors: Any) -> tuple[str, Mapping[str, Any]]:
    """Returns by which method TensorFlow's server calls a signature, and the names of what is fed.

    Classification and regression take serialised examples under one name; what is fed otherwise is called by the
    method that takes anything.

    Args:
      method: of the output.
      receiver_tensors: a placeholder, or a mapping of placeholders.
    """
    named = _named(receiver_tensors, _SINGLE_RECEIVER)
    if method not in (ClassificationOutput.method, RegressionOutput.method):
        return method, named
    tensors = list(named.values())
    takes_examples = len(tensors) == 1 and tensors[0].dtype == tf.string
    return (method, {_constants.CLASSIFY_INPUTS: tensors[0]}) if takes_examples else (PredictOutput.method, named)


def supervised(loss: tf.Tensor, predictions: Any, metrics: Mapping[str, Any] | None) -> dict[str, tf.Tensor]:
    """Returns the outputs of a signature that trains or evaluates: `loss`, `predictions/...`, `metrics/...`."""
    outputs = {"loss": loss}
    if predictions is not None:
        named = {f"predictions/{key}": value for key, value in predictions.items()} if _is_named(predictions) else None
        outputs.update(named if named is not None else {"predictions": predictions})
    for name, metric in (metrics or {}).items():
        outputs.update({f"metrics/{name}/{part}": value for part, value in _metric_parts(metric).items()})
    return outputs


def _metric_parts(metric: Any) -> Mapping[str, tf.Tensor]:
    if isinstance(metric, AdditiveMetric):
        return metric.statistics
    if not isinstance(metric, (tuple, list)):
        return {"value": metric.result()}
    value, update = metric
    if isinstance(update, tf.Operation):
        with tf.control_dependencies([update]):
            update = tf.constant([])
    return {"value": value, "update_op": update}


def build_raw_supervised_input_receiver_fn(
    features: Any, labels: Any, default_batch_size: int | None = None
) -> Callable[[], SupervisedInputReceiver]:
    """Returns an input_receiver_fn that takes features and labels themselves.

    Args:
      features, labels: examples, or their specs: a tensor each, or a mapping; axis 0 is the batch.
      default_batch_size: size of the batch; None for any.

    Raises:
      ValueError: a feature and a label have the same name.
    """
    named = [_named(features, _SINGLE_FEATURE), _named(labels, _SINGLE_LABEL)]
    taken = named[0].keys() & named[1].keys()
    if taken:
        raise ValueError(f"features and labels must have names of their own, both have {', '.join(sorted(taken))}")

    def input_receiver_fn() -> SupervisedInputReceiver:
        made = [
            {name: _placeholder(name, example, default_batch_size) for name, example in part.items()} for part in named
        ]
        model_features, model_labels = (
            placeholders if _is_named(whole) else next(iter(placeholders.values()))
            for whole, placeholders in zip((features, labels), made, strict=True)
        )
        return SupervisedInputReceiver(model_features, model_labels, {**made[0], **made[1]})

    return input_receiver_fn


def build_raw_serving_input_receiver_fn(features: Mapping[str, Any], default_batch_size: int | None = None) -> Any:
    """Returns a serving_input_receiver_fn that takes the features themselves.

    Args:
      features: examples of the features, or their specs, by name; axis 0 is the batch.
      default_batch_size: size of the batch; None for any.
    """

    def serving_input_receiver_fn() -> ServingInputReceiver:
        placeholders = {name: _placeholder(name, example, default_batch_size) for name, example in features.items()}
        return ServingInputReceiver(placeholders, placeholders)

    return serving_input_receiver_fn


def build_parsing_serving_input_receiver_fn(
    feature_spec: Mapping[str, Any], default_batch_size: int | None = None
) -> Callable[[], ServingInputReceiver]:
    """Returns a serving_input_receiver_fn that takes serialised `tf.train.Example`s, text `[batch]`.

    Args:
      feature_spec: as for `tf.io.parse_example`.
      default_batch_size: size of the batch; None for any.
    """

    def serving_input_receiver_fn() -> ServingInputReceiver:
        serialised = tf.compat.v1.placeholder(tf.string, [default_batch_size], name="input_example_tensor")
        features = tf.io.parse_example(serialised, feature_spec)
        return ServingInputReceiver(features, {"examples": serialised})

    return serving_input_receiver_fn


def _placeholder(name: str, example: Any, batch_size: int | None) -> tf.Tensor:
    """Returns a placeholder like an example, under the name of its operation, as in TensorFlow 1, if it has one."""
    is_in_graph = tf.is_tensor(example) and tf.is_symbolic_tensor(example)
    own_name = example.op.name if is_in_graph else name
    return tf.compat.v1.placeholder(example.dtype, [batch_size, *example.shape[1:]], name=own_name)


def _is_named(tensors: Any) -> bool:
    return isinstance(tensors, Mapping)


def _named(tensors: Any, single_name: str) -> Mapping[str, Any]:
    return tensors if _is_named(tensors) else {single_name: tensors}
