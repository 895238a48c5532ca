"""`LoggingTensorHook` for variables too, which TensorFlow 1 had in the graph like any tensor."""

from typing import Any

import tensorflow as tf


class LoggingTensorHook(tf.compat.v1.train.LoggingTensorHook):
    """Logs tensors and variables; arguments are those of `tf.compat.v1.train.LoggingTensorHook`."""

    def begin(self) -> None:
        """Reads the variables in the graph of the step."""
        given: dict[Any, Any] = self.__dict__["_tensors"]
        self._tensors = {
            tag: tf.identity(value) if isinstance(value, tf.Variable) else value for tag, value in given.items()
        }
        try:
            super().begin()
        finally:
            self._tensors = given
