"""Classification losses, per example and in float32."""

import tensorflow as tf


def one_hot_targets(labels: tf.Tensor, num_classes: int) -> tf.Tensor:
    """Returns float32 `[batch, num_classes]`: 1 for the class of each of `labels`, integer `[batch]`.

    A label outside the classes gives NaN, so that the loss is NaN and training stops; zeros would pass unnoticed, as a
    loss of 0.
    """
    is_valid = (labels >= 0) & (labels < num_classes)
    return tf.where(is_valid[:, tf.newaxis], tf.one_hot(labels, num_classes), float("nan"))


def smoothed_targets(targets: tf.Tensor, label_smoothing: float) -> tf.Tensor:
    """Returns class probabilities `[batch, num_classes]` with a share of each spread evenly over all classes.

    (Szegedy et al. 2016, arXiv 1512.00567.)
    """
    if label_smoothing == 0.0:
        return targets
    return targets * (1.0 - label_smoothing) + label_smoothing / targets.shape[-1]


def softmax_cross_entropy(logits: tf.Tensor, targets: tf.Tensor) -> tf.Tensor:
    """Returns the loss of each example, float32 `[batch]`, in nats.

    Args:
      logits: `[batch, num_classes]`, any float dtype.
      targets: float `[batch, num_classes]`, the probability of each class.
    """
    return tf.nn.softmax_cross_entropy_with_logits(tf.cast(targets, tf.float32), tf.cast(logits, tf.float32))


def weighted_mean(values: tf.Tensor, weights: tf.Tensor) -> tf.Tensor:
    """Returns the mean of `values` `[batch]` weighted by `weights` `[batch]`; 0 when all weights are.

    A value of weight 0 does not count, even when it is not finite.
    """
    total = tf.reduce_sum(tf.where(weights > 0, values * weights, tf.zeros_like(values)))
    return tf.math.divide_no_nan(total, tf.reduce_sum(weights))
