"""Classification losses, per example and in float32."""

import tensorflow as tf


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
    """Returns the mean of `values` `[batch]` weighted by `weights` `[batch]`; 0 when all weights are."""
    return tf.math.divide_no_nan(tf.reduce_sum(values * weights), tf.reduce_sum(weights))
