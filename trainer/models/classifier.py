"""The one image model_fn: from uint8 images to loss, update, metrics and predictions."""

import contextlib
import functools
from collections.abc import Mapping
from typing import Any

import tensorflow as tf

from trainer import replica
from trainer.config import ExperimentConfig
from trainer.engine.spec import ModeKeys, TPUEstimatorSpec
from trainer.models import recipe, registry
from trainer.models.network import Network, NetworkOutputs
from trainer.nn import ema, losses, metrics
from trainer.nn.ema import MovingAverages
from trainer.nn.layers import ForwardPass
from trainer.nn.random_key import RandomKey

# Mean and standard deviation of ImageNet's RGB pixels, on the scale of 0 to 255.
PIXEL_MEAN = (123.675, 116.28, 103.53)
PIXEL_STDDEV = (58.395, 57.12, 57.375)

# A network that predicts from an intermediate layer as well weighs that loss so (Szegedy et al. 2014, arXiv 1409.4842).
AUXILIARY_LOSS_WEIGHT = 0.4

# Above this a confusion matrix is too large to read, and takes more memory than the network.
MAX_CONFUSION_MATRIX_CLASSES = 2000


def model_fn(features: Mapping[str, tf.Tensor], labels: tf.Tensor | None, mode: str, params: Mapping[str, Any]) -> Any:
    """Returns the `TPUEstimatorSpec` of an image classifier.

    Args:
      features: `image`, uint8 `[batch, height, width, 3]`; when evaluating also `weight`, float32 `[batch]`, 0 for
        padding.
      labels: int32 `[batch]`, 0-based; None to predict.
      mode: one of `ModeKeys`.
      params: `config` (`ExperimentConfig`), `num_classes`, and to train `steps_per_epoch`.

    Raises:
      UserError: on settings that the network cannot use.
    """
    config: ExperimentConfig = params["config"]
    network = registry.build(config.model, params["num_classes"])
    images = normalised(features["image"])
    if mode == ModeKeys.TRAIN:
        targets = losses.one_hot_targets(labels, params["num_classes"])
        return _training_spec(network, images, targets, config, params["steps_per_epoch"])
    logits = _averaged_logits(network, images, config)
    if mode == ModeKeys.PREDICT:
        return TPUEstimatorSpec(mode, predictions=predictions(logits))
    return _evaluation_spec(logits, labels, features.get("weight"), config.loop.top_k)


def normalised(images: tf.Tensor) -> tf.Tensor:
    """Returns float32 images of mean 0 and deviation 1 per channel (over ImageNet), from uint8 RGB."""
    return (tf.cast(images, tf.float32) - PIXEL_MEAN) * [1.0 / stddev for stddev in PIXEL_STDDEV]


def predictions(logits: tf.Tensor) -> dict[str, tf.Tensor]:
    """Returns `class_index` int32 `[batch]`, `probabilities` and `logits`, float32 `[batch, num_classes]`."""
    return {
        "class_index": tf.argmax(logits, axis=-1, output_type=tf.int32),
        "probabilities": tf.nn.softmax(logits),
        "logits": logits,
    }


def _training_spec(
    network: Network, images: tf.Tensor, targets: tf.Tensor, config: ExperimentConfig, steps_per_epoch: float
) -> TPUEstimatorSpec:
    global_step = tf.compat.v1.train.get_or_create_global_step()
    step = global_step.read_value()
    key = RandomKey(config.loop.seed, step, replica.current().replica_id())
    targets = losses.smoothed_targets(targets, config.optimization.label_smoothing)
    if mixing := recipe.mixing(config.optimization):
        images, targets = mixing(images, targets, key)
    progress = tf.cast(step, tf.float32) / (config.loop.train_epochs * steps_per_epoch)
    forward = ForwardPass(is_training=True, key=key, progress=tf.minimum(progress, 1.0))
    outputs = network(_activations(images, config), forward)
    loss = tf.reduce_mean(_training_losses(outputs, targets))
    learning_rate = recipe.schedule(config, steps_per_epoch)(step)
    _update(network, loss, learning_rate, config)
    if config.optimization.ema_decay:
        MovingAverages(config.optimization.ema_decay).update(network.variables, step)
    accuracy = tf.reduce_mean(tf.cast(_is_likeliest(outputs.logits, targets), tf.float32))
    return TPUEstimatorSpec(
        ModeKeys.TRAIN,
        loss=loss,
        train_op=global_step.assign_add(1),
        scalars={"learning_rate": learning_rate, "train_accuracy": accuracy},
    )


def _activations(images: tf.Tensor, config: ExperimentConfig) -> tf.Tensor:
    return tf.cast(images, config.model.precision)


def _training_losses(outputs: NetworkOutputs, targets: tf.Tensor) -> tf.Tensor:
    values = losses.softmax_cross_entropy(outputs.logits, targets)
    if outputs.auxiliary_logits is not None:
        values += AUXILIARY_LOSS_WEIGHT * losses.softmax_cross_entropy(outputs.auxiliary_logits, targets)
    return values


def _update(network: Network, loss: tf.Tensor, learning_rate: tf.Tensor, config: ExperimentConfig) -> None:
    variables = network.trainable_variables
    recipe.optimizer(config.optimization).apply(tf.gradients(loss, variables), variables, learning_rate)


def _is_likeliest(logits: tf.Tensor, targets: tf.Tensor) -> tf.Tensor:
    """Returns bool `[batch]`: is the prediction the class with the largest share of the target?"""
    return metrics.is_in_top_k(logits, tf.argmax(targets, axis=-1, output_type=tf.int32), 1)


def _averaged_logits(network: Network, images: tf.Tensor, config: ExperimentConfig) -> tf.Tensor:
    """Returns the logits that the moving averages of the weights give, or the weights if there are no averages."""
    has_averages = config.optimization.ema_decay > 0.0
    with ema.reading_averages() if has_averages else contextlib.nullcontext():
        forward = ForwardPass(is_training=False, key=RandomKey(config.loop.seed))
        return network(_activations(images, config), forward).logits


def _evaluation_spec(logits: tf.Tensor, labels: tf.Tensor, weights: tf.Tensor | None, top_k: int) -> TPUEstimatorSpec:
    values = losses.softmax_cross_entropy(logits, losses.one_hot_targets(labels, logits.shape[-1]))
    weights = tf.ones_like(values) if weights is None else weights
    tensors = {"logits": logits, "labels": labels, "losses": values, "weights": weights}
    return TPUEstimatorSpec(
        ModeKeys.EVAL,
        loss=losses.weighted_mean(values, weights),
        predictions=predictions(logits),
        eval_metrics=(functools.partial(evaluation_metrics, top_k=top_k), tensors),
    )


def evaluation_metrics(
    logits: tf.Tensor, labels: tf.Tensor, losses: tf.Tensor, weights: tf.Tensor, top_k: int
) -> dict[str, metrics.AdditiveMetric]:
    """Returns the metrics of a batch by name; examples of weight 0 count in none of them.

    The top-k accuracy is called `top_<k>_accuracy`, with a k of at most the number of classes.
    """
    num_classes = logits.shape[-1]
    predicted = tf.argmax(logits, axis=-1, output_type=tf.int32)
    found = {"mean_loss": metrics.mean(losses, weights)}
    for k in (1, min(top_k, num_classes)):
        found[f"top_{k}_accuracy"] = metrics.top_k_accuracy(logits, labels, k, weights)
    found["per_class_precision"] = metrics.per_class_precision(predicted, labels, num_classes, weights)
    found["per_class_recall"] = metrics.per_class_recall(predicted, labels, num_classes, weights)
    if num_classes <= MAX_CONFUSION_MATRIX_CLASSES:
        found["confusion_matrix"] = metrics.confusion_matrix(predicted, labels, num_classes, weights)
    return found
