"""`tf.contrib.metrics`: metrics of `tf.compat.v1.metrics` that take predictions first, and Pearson's correlation."""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf
from tensorflow.python.ops import metrics_impl

ValueAndUpdate = tuple[tf.Tensor, tf.Tensor]


def _predictions_first(metric: Callable[..., ValueAndUpdate]) -> Callable[..., ValueAndUpdate]:
    @functools.wraps(metric)
    def swapped(predictions: Any, labels: Any, *args: Any, **kwargs: Any) -> ValueAndUpdate:
        return metric(labels, predictions, *args, **kwargs)

    return swapped


streaming_accuracy = _predictions_first(tf.compat.v1.metrics.accuracy)
streaming_mean_absolute_error = _predictions_first(tf.compat.v1.metrics.mean_absolute_error)
streaming_mean_iou = _predictions_first(tf.compat.v1.metrics.mean_iou)
streaming_mean_squared_error = _predictions_first(tf.compat.v1.metrics.mean_squared_error)
streaming_precision = _predictions_first(tf.compat.v1.metrics.precision)
streaming_recall = _predictions_first(tf.compat.v1.metrics.recall)
streaming_root_mean_squared_error = _predictions_first(tf.compat.v1.metrics.root_mean_squared_error)
streaming_auc = _predictions_first(tf.compat.v1.metrics.auc)


def streaming_pearson_correlation(
    predictions: tf.Tensor,
    labels: tf.Tensor,
    weights: Any = None,
    metrics_collections: Sequence[str] | None = None,
    updates_collections: Sequence[str] | None = None,
    name: str | None = None,
) -> ValueAndUpdate:
    """Returns the correlation of all examples so far, not a number while one of both is constant, and its update.

    Args:
      predictions, labels: numbers of one shape.
      weights: of the examples, of a shape that broadcasts to theirs; None for 1.
      metrics_collections, updates_collections: collections that the value and the update are added to.
      name: of the variable scope.
    """
    with tf.compat.v1.variable_scope(name, "pearson_r", (predictions, labels, weights)):
        x, y = (tf.cast(values, tf.float64) for values in (predictions, labels))
        weight = tf.broadcast_to(tf.cast(1.0 if weights is None else weights, tf.float64), tf.shape(x))
        moments = tf.stack([tf.reduce_sum(weight * term) for term in (tf.ones_like(x), x, y, x * x, y * y, x * y)])
        # In double precision, plain sums lose nothing that single precision could show.
        sums = metrics_impl.metric_variable([6], tf.float64, name="sums")
        value = _correlation(sums)
        update = _correlation(tf.compat.v1.assign_add(sums, moments))
    for collection in metrics_collections or ():
        tf.compat.v1.add_to_collection(collection, value)
    for collection in updates_collections or ():
        tf.compat.v1.add_to_collection(collection, update)
    return value, update


def _correlation(sums: tf.Tensor) -> tf.Tensor:
    count, x, y, xx, yy, xy = tf.unstack(sums)
    covariance = count * xy - x * y
    deviations = tf.sqrt(tf.maximum(count * xx - x * x, 0.0) * tf.maximum(count * yy - y * y, 0.0))
    return tf.cast(covariance / deviations, tf.float32)
