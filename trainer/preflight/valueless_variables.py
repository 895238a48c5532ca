"""Variables that have a shape and take no memory: a step is compiled without their values."""

import mmap
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import numpy as np
import tensorflow as tf

# Pages that nobody writes are not counted against the machine's memory. Python 3.13 is the first to name it.
_NO_RESERVE = 0x4000 if sys.platform == "linux" else 0
_FLOATS = (tf.bfloat16, tf.float16, tf.float32, tf.float64)
_INTEGERS = (tf.int8, tf.int16, tf.int32, tf.int64, tf.uint8, tf.uint16, tf.uint32, tf.uint64)


def creating() -> AbstractContextManager[Any]:
    """Inside the `with` block, which is part of a trace, first values of variables are zeros that take no memory.

    Their own are never computed. Inside the graph they are traced as ever: the random numbers of all later operations
    depend on how many there are. Outside it, where slots are made, they are not asked for.
    """
    return tf.variable_creator_scope(_create)


def _create(next_creator: Callable[..., tf.Variable], **arguments: Any) -> tf.Variable:
    given: Any = arguments["initial_value"]
    shape, dtype = arguments.get("shape"), arguments.get("dtype")

    def first_value() -> Any:
        if callable(given) and tf.executing_eagerly() and _can_be_left_out(shape, dtype):
            return _zeros(tf.TensorShape(shape), tf.as_dtype(dtype))
        value = given() if callable(given) else given
        is_traced = tf.is_tensor(value) and tf.is_symbolic_tensor(value)
        return _zeros(value.shape, value.dtype) if is_traced and _can_be_left_out(value.shape, value.dtype) else value

    return next_creator(**(arguments | {"initial_value": first_value}))


def _can_be_left_out(shape: Any, dtype: Any) -> bool:
    if shape is None or dtype is None or tf.as_dtype(dtype) not in (*_FLOATS, *_INTEGERS):
        return False
    return bool(tf.TensorShape(shape).num_elements())  # of unknown or no size: nothing can be set aside


def _zeros(shape: tf.TensorShape, dtype: tf.DType) -> tf.Tensor:
    """Returns an eager tensor, which a graph captures."""
    untouched = _untouched_bytes(shape.num_elements() * dtype.size, dtype.size)
    with tf.init_scope():
        numbers = tf.bitcast(tf.experimental.dlpack.from_dlpack(untouched.__dlpack__()), dtype)
        return tf.reshape(numbers, shape)


def _untouched_bytes(num_bytes: int, row_bytes: int) -> np.ndarray:
    """Returns zeros, uint8 `[-1, row_bytes]` (`[-1]` of single bytes), for which the system has no pages until used."""
    pages = mmap.mmap(-1, num_bytes, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | _NO_RESERVE)
    flat = np.frombuffer(pages, np.uint8)
    return flat.reshape(-1, row_bytes) if row_bytes > 1 else flat
