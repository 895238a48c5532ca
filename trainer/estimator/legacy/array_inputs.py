"""`tf.estimator.inputs`: input functions that read arrays and DataFrames in memory.

The rows are gathered batch by batch, so that the arrays become no part of the graph, which holds 2 GB at most.
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import tensorflow as tf


@dataclasses.dataclass(frozen=True)
class _Reading:
    """How rows are read: `num_epochs` None is for ever, and `queue_capacity` the rows that are shuffled at a time."""

    batch_size: int
    num_epochs: int | None
    shuffle: bool | None
    queue_capacity: int
    num_threads: int

    def __post_init__(self) -> None:
        if not isinstance(self.shuffle, bool):
            raise ValueError(f"shuffle must be given, as True (for training) or False, got {self.shuffle!r}")


def numpy_input_fn(
    x: Any,
    y: Any = None,
    batch_size: int = 128,
    num_epochs: int | None = 1,
    shuffle: bool | None = None,
    queue_capacity: int = 1000,
    num_threads: int = 1,
) -> Callable[[], Any]:
    """Returns an input_fn that gives features, or `(features, labels)` if there is a `y`.

    Args:
      x: an array [rows, ...], or a dict of them: the features are alike.
      y: likewise; None for no labels.
      batch_size: rows in a batch; across the ends of epochs, so that only the very last one may be smaller.
      num_epochs: how often to read the rows; None for ever.
      shuffle: whether in random order.
      queue_capacity: how many rows are shuffled at a time.
      num_threads: batches that are gathered at a time; their order is the same for any number.

    Raises:
      TypeError: `x` is neither an array nor a dict.
      ValueError: `shuffle` is not given, x or y is empty, they have keys in common, or differ in rows.
    """
    if not isinstance(x, (Mapping, np.ndarray)):
        raise TypeError(f"x must be an array or a dict of arrays, got {type(x).__name__}")
    if isinstance(x, Mapping) and isinstance(y, Mapping) and x.keys() & y.keys():
        raise ValueError(f"x and y must not have keys in common: {sorted(x.keys() & y.keys())}")
    return _input_fn(x, y, _Reading(batch_size, num_epochs, shuffle, queue_capacity, num_threads))


def pandas_input_fn(  # noqa: PLR0913, PLR0917 - the signature that programs rely on
    x: Any,
    y: Any = None,
    batch_size: int = 128,
    num_epochs: int | None = 1,
    shuffle: bool | None = None,
    queue_capacity: int | None = 1000,
    num_threads: int = 1,
    target_column: str = "target",
) -> Callable[[], Any]:
    """Returns an input_fn that gives the columns of a DataFrame by name, and labels if there is a `y`.

    Args:
      x: a DataFrame.
      y: a Series, or a DataFrame for labels by name; its index is that of `x`. None for no labels.
      batch_size, num_epochs, shuffle, num_threads: as for `numpy_input_fn`.
      queue_capacity: likewise; None is all rows.
      target_column: a name that no column of `x` may have.

    Raises:
      ValueError: `shuffle` is not given, the indices differ, or `target_column` is taken.
    """
    if y is not None and target_column in x:
        raise ValueError(f"x has a column {target_column!r} already: give another target_column")
    if y is not None and not np.array_equal(x.index, y.index):
        raise ValueError(f"x and y must have the same index, got {x.index} and {y.index}")
    capacity = len(x) if queue_capacity is None else queue_capacity
    return _input_fn(_columns(x), _columns(y), _Reading(batch_size, num_epochs, shuffle, capacity, num_threads))


def _columns(frame: Any) -> Any:
    if frame is None:
        return None
    return {name: frame[name].to_numpy() for name in frame} if frame.ndim > 1 else frame.to_numpy()


def _input_fn(features: Any, labels: Any, reading: _Reading) -> Callable[[], Any]:
    structure = features if labels is None else (features, labels)
    arrays = [np.asarray(array) for array in tf.nest.flatten(structure)]
    if _is_empty(features) or (isinstance(labels, Mapping) and not labels):
        raise ValueError("x and y must not be empty; for no labels, y is None")
    if len({len(array) for array in arrays}) != 1:
        raise ValueError(f"x and y must have the same number of rows, got shapes {[array.shape for array in arrays]}")

    def input_fn() -> Any:
        dataset = _batches(arrays, reading)
        dataset = dataset.map(lambda *batch: tf.nest.pack_sequence_as(structure, batch))
        # In a graph, programs take the tensors apart, as they came from a queue.
        return dataset if tf.executing_eagerly() else tf.compat.v1.data.make_one_shot_iterator(dataset).get_next()

    return input_fn


def _is_empty(features: Any) -> bool:
    return not features if isinstance(features, Mapping) else features.size == 0


def _batches(arrays: list[np.ndarray], reading: _Reading) -> tf.data.Dataset:
    types = [tf.as_dtype(array.dtype) for array in arrays]

    def gathered(rows: tf.Tensor) -> tuple[tf.Tensor, ...]:
        batch = tf.numpy_function(lambda indices: [array[indices] for array in arrays], [rows], types)
        for tensor, array in zip(batch, arrays, strict=True):
            tensor.set_shape([rows.shape[0], *array.shape[1:]])
        return tuple(batch)

    rows = tf.data.Dataset.range(len(arrays[0]))
    if reading.shuffle:
        rows = rows.shuffle(reading.queue_capacity)
    # Without an end there is no remainder: the size of a batch is known then.
    rows = rows.repeat(reading.num_epochs).batch(reading.batch_size, drop_remainder=reading.num_epochs is None)
    return rows.map(gathered, num_parallel_calls=reading.num_threads)
