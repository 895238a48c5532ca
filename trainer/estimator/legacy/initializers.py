"""Operations that initialise variables, where some have their first value already: those of a model_fn."""

from collections.abc import Iterable
from typing import Any

import tensorflow as tf


def global_variables_initializer() -> tf.Operation:
    """Returns what gives the graph's variables their first values."""
    return variables_initializer(tf.compat.v1.global_variables())


def local_variables_initializer() -> tf.Operation:
    """Returns what gives the graph's local variables their first values."""
    return variables_initializer(tf.compat.v1.local_variables())


def variables_initializer(var_list: Iterable[Any], name: str = "init") -> tf.Operation:
    """Returns what gives variables their first values; those of a model_fn have theirs before it runs."""
    initializers = [variable.initializer for variable in var_list]
    return tf.group(*(operation for operation in initializers if operation is not None), name=name)
