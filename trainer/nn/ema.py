"""Moving averages of variables: kept while training, read instead of the variables themselves afterwards."""

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

import tensorflow as tf

from trainer.nn import variable_scope

SUFFIX = "ExponentialMovingAverage"


class MovingAverages:
    """Averages of variables, each in a variable named `<variable>/ExponentialMovingAverage`."""

    def __init__(self, decay: float):
        self._decay = decay
        self._averages: dict[Any, tf.Variable] = {}

    def update(self, variables: Sequence[tf.Variable], step: tf.Tensor | int) -> None:
        """Moves each average towards its variable; call it after the optimizer, with the number of updates before it.

        The decay starts at 0, so that the first update sets the averages, and rises to the one asked for: the weights
        of the first steps, far from trained, are soon forgotten.
        """
        step = tf.cast(step, tf.float32)
        rate = 1.0 - tf.minimum(self._decay, step / (9.0 + step))
        for variable in variables:
            with variable_scope.of(variable):
                average = self._average_of(variable)
                average.assign_sub(rate * (average - variable))

    def _average_of(self, variable: tf.Variable) -> tf.Variable:
        key = variable.ref()
        if key not in self._averages:
            name = variable.name.partition(":")[0]
            with tf.name_scope(""):
                self._averages[key] = tf.Variable(
                    lambda: tf.zeros(variable.shape), trainable=False, name=f"{name}/{SUFFIX}", shape=variable.shape
                )
        return self._averages[key]


@contextlib.contextmanager
def reading_averages() -> Iterator[None]:
    """Makes layers built inside read the averages: the variable `kernel` they ask for is `kernel/Exponential...`.

    So evaluation, prediction and export hold the averages alone, found by name in any checkpoint of the training.
    """

    def creator(next_creator: Any, **arguments: Any) -> tf.Variable:
        return next_creator(**(arguments | {"name": f"{arguments['name']}/{SUFFIX}"}))

    with tf.variable_creator_scope(creator):
        yield
