"""`tf.enable_eager_execution()` in a program for TensorFlow 1, which starts out building graphs here."""

import contextlib
from collections.abc import Iterator
from typing import Any

import tensorflow as tf
from tensorflow.python.eager import context

_switched_on = contextlib.ExitStack()


def enable_eager_execution(*arguments: Any, **options: Any) -> None:
    """Executes operations at once, from here to the end of the program."""
    tf.compat.v1.enable_eager_execution(*arguments, **options)
    _switch_on()


def enable_v2_behavior() -> None:
    """Does what TensorFlow's function does, and executes operations at once."""
    tf.compat.v1.enable_v2_behavior()
    _switch_on()


@contextlib.contextmanager
def building_graphs() -> Iterator[None]:
    """Builds graphs until the program asks for eager execution; afterwards all is as before."""
    with context.graph_mode(), _switched_on:
        yield


def _switch_on() -> None:
    if not tf.executing_eagerly():
        _switched_on.enter_context(context.eager_mode())
