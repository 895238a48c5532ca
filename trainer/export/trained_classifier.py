"""A trained classifier as plain TensorFlow: predictions as a function, and the checkpoint in its variables."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import tensorflow as tf

from trainer.config import InputConfig
from trainer.engine import step_program
from trainer.engine.spec import ModeKeys
from trainer.engine.step_program import StepProgram, StepResult
from trainer.engine.variables import VariableStore
from trainer.models import classifier

# Takes uint8 images [batch, height, width, 3], returns the predictions of docs/architecture.md by name.
PredictFn = Callable[[tf.Tensor], Mapping[str, tf.Tensor]]


@dataclasses.dataclass(frozen=True)
class TrainedClassifier:
    """What an export is made of: predictions, the variables that they read, and what goes in and comes out."""

    predict_fn: PredictFn
    variables: Sequence[tf.Variable]
    class_names: tuple[str, ...]
    input: InputConfig


def from_checkpoint(params: Mapping[str, Any], class_names: Sequence[str], checkpoint_path: str) -> TrainedClassifier:
    """Returns the classifier that a checkpoint holds; with moving averages, it is those that predict.

    Args:
      params: of the image model_fn, see `trainer.models.classifier`.
      class_names: in the order of the labels.
      checkpoint_path: without suffix; it must be whole.
    """
    input_config = params["config"].input
    program = _trace(params, input_config.image_size)
    reader = tf.train.load_checkpoint(checkpoint_path)
    for variable in program.variables:
        variable.assign(reader.get_tensor(variable.name.partition(":")[0]))

    def predict_fn(images: tf.Tensor) -> Mapping[str, tf.Tensor]:
        return program.pack_outputs(program.concrete_function(images))["per_replica"]

    return TrainedClassifier(predict_fn, program.variables, tuple(class_names), input_config)


def _trace(params: Mapping[str, Any], image_size: int) -> StepProgram:
    def step_fn(features: Mapping[str, tf.Tensor]) -> StepResult:
        spec = classifier.model_fn(features, None, ModeKeys.PREDICT, params)
        return StepResult(per_replica=spec.predictions)

    images = tf.TensorSpec([None, image_size, image_size, 3], tf.uint8)
    return step_program.trace_step(step_fn, {"image": images}, VariableStore())
