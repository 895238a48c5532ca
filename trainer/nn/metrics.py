"""Evaluation metrics that are sums: exact for any batch size, padding and number of replicas."""

import dataclasses
import functools
from collections.abc import Callable, Mapping

import numpy as np
import tensorflow as tf


@dataclasses.dataclass(frozen=True)
class AdditiveMetric:
    """A metric whose statistics add up over batches and replicas.

    `statistics` hold this batch's share; `finalize` turns their sums over the whole evaluation into the value, on the
    host. Statistics are float64: in float32 a count would stop growing at 2**24.
    """

    statistics: Mapping[str, tf.Tensor]
    finalize: Callable[[Mapping[str, np.ndarray]], float | np.ndarray]


def mean(values: tf.Tensor, weights: tf.Tensor | None = None) -> AdditiveMetric:
    """Returns the weighted mean of `values`.

    Args:
      values: number or boolean `[batch]`.
      weights: float `[batch]`, 0 for padding; None counts every example once. An example of weight 0 never counts,
        even when its value is not finite.
    """
    values = tf.cast(values, tf.float64)
    weights = _float64_weights(weights, values)
    total = tf.reduce_sum(tf.where(weights > 0, values * weights, tf.zeros_like(values)))
    return AdditiveMetric(
        {"total": total, "weight": tf.reduce_sum(weights)},
        functools.partial(_ratio, numerator="total", denominator="weight"),
    )


def top_k_accuracy(logits: tf.Tensor, labels: tf.Tensor, k: int, weights: tf.Tensor | None = None) -> AdditiveMetric:
    """Returns the share of examples whose label is among the `k` largest logits.

    Args:
      logits: float `[batch, num_classes]`.
      labels: integer `[batch]`.
      k: at least 1; more than `num_classes` means `num_classes`.
      weights: float `[batch]`, 0 for padding.
    """
    return mean(is_in_top_k(logits, labels, min(k, logits.shape[-1])), weights)


def is_in_top_k(logits: tf.Tensor, labels: tf.Tensor, k: int) -> tf.Tensor:
    """Returns bool `[batch]`: is the label among the `k` largest of `logits` `[batch, num_classes]`?

    Of equal logits the lower class index comes first, as in `tf.argmax`: a network that says nothing must not look
    right everywhere. For the same reason a row with a NaN is wrong.
    """
    target = tf.gather(logits, labels, axis=1, batch_dims=1)[:, tf.newaxis]
    is_earlier = tf.range(logits.shape[-1], dtype=labels.dtype)[tf.newaxis] < labels[:, tf.newaxis]
    is_ahead = (logits > target) | (tf.equal(logits, target) & is_earlier)
    rank = tf.reduce_sum(tf.cast(is_ahead, tf.int32), axis=1)
    return (rank < k) & ~tf.reduce_any(tf.math.is_nan(logits), axis=1)


def confusion_matrix(
    predicted: tf.Tensor, labels: tf.Tensor, num_classes: int, weights: tf.Tensor | None = None
) -> AdditiveMetric:
    """Returns the confusion matrix, `[num_classes, num_classes]`: rows are labels, columns predictions.

    Args:
      predicted: integer `[batch]`, the predicted class.
      labels: integer `[batch]`.
      num_classes: size of the matrix.
      weights: float `[batch]`, 0 for padding.
    """
    cell = tf.cast(labels, tf.int32) * num_classes + tf.cast(predicted, tf.int32)
    counts = tf.math.unsorted_segment_sum(_float64_weights(weights, cell), cell, num_classes**2)
    return AdditiveMetric({"counts": tf.reshape(counts, [num_classes, num_classes])}, _counts)


def per_class_precision(
    predicted: tf.Tensor, labels: tf.Tensor, num_classes: int, weights: tf.Tensor | None = None
) -> AdditiveMetric:
    """Returns `[num_classes]`: of the examples predicted as a class, the share that is of it; NaN if there are none."""
    return _class_ratio(predicted, tf.equal(predicted, labels), num_classes, weights)


def per_class_recall(
    predicted: tf.Tensor, labels: tf.Tensor, num_classes: int, weights: tf.Tensor | None = None
) -> AdditiveMetric:
    """Returns `[num_classes]`: of the examples of a class, the share predicted as it; NaN for a class without any."""
    return _class_ratio(labels, tf.equal(predicted, labels), num_classes, weights)


def _class_ratio(
    classes: tf.Tensor, is_correct: tf.Tensor, num_classes: int, weights: tf.Tensor | None
) -> AdditiveMetric:
    weights = _float64_weights(weights, classes)
    correct_weights = weights * tf.cast(is_correct, tf.float64)
    statistics = {
        "correct": tf.math.unsorted_segment_sum(correct_weights, classes, num_classes),
        "total": tf.math.unsorted_segment_sum(weights, classes, num_classes),
    }
    return AdditiveMetric(statistics, functools.partial(_ratio, numerator="correct", denominator="total"))


def _float64_weights(weights: tf.Tensor | None, values: tf.Tensor) -> tf.Tensor:
    return tf.ones(tf.shape(values), tf.float64) if weights is None else tf.cast(weights, tf.float64)


def _ratio(sums: Mapping[str, np.ndarray], numerator: str, denominator: str) -> float | np.ndarray:
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.true_divide(sums[numerator], sums[denominator])
    return float(ratio) if ratio.ndim == 0 else ratio


def _counts(sums: Mapping[str, np.ndarray]) -> np.ndarray:
    return np.asarray(sums["counts"])
