"""What a step gave, as numpy arrays on the host."""

from typing import Any

import numpy as np
import tensorflow as tf


def array(value: Any) -> np.ndarray:
    """Returns a tensor of TensorFlow, an array of JAX, or a number, as a numpy array of its own dtype."""
    # numpy.asarray refuses scalar tensors of bfloat16 and its kin: their __array__ gives a number.
    is_number = isinstance(value, tf.Tensor) and value.shape.rank == 0
    return np.asarray(value.numpy() if is_number else value)
