"""Initial values of variables: functions of (random key, shape) to a float32 tensor."""

from collections.abc import Callable, Sequence

import tensorflow as tf

from trainer.nn.random_key import RandomKey

Initializer = Callable[[RandomKey, Sequence[int]], tf.Tensor]


def zeros(key: RandomKey, shape: Sequence[int]) -> tf.Tensor:
    """Returns zeros."""
    del key
    return tf.zeros(shape)


def ones(key: RandomKey, shape: Sequence[int]) -> tf.Tensor:
    """Returns ones."""
    del key
    return tf.ones(shape)


def normal(stddev: float) -> Initializer:
    """Returns an initializer that draws from a normal distribution of mean 0."""
    return lambda key, shape: key.normal(shape, stddev)
