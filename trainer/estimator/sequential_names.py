"""How Keras 2's `Sequential` names its variables in a model_fn: as in the graphs of TensorFlow 1."""

import functools
from typing import Any

import tensorflow as tf

from trainer.engine.step_graph import StepGraph


@functools.cache
def as_in_graphs() -> None:
    """Lets a `Sequential` without an input shape name its variables as in a graph, `sequential/dense/kernel`.

    Where TensorFlow executes eagerly, it turns itself into a functional model at its first call, whose layers are under
    no other (`dense/kernel`). This is done before the first trace, which may be what loads Keras 2.
    """
    try:
        from tf_keras.src.engine.sequential import Sequential  # noqa: PLC0415 - an extra
    except (ImportError, AttributeError):
        # It is not installed, or is for another TensorFlow: a program that uses it is told when it does.
        return
    become_functional = Sequential._build_graph_network_for_inferred_shape

    @functools.wraps(become_functional)
    def unless_in_a_step(self: Any, *arguments: Any, **options: Any) -> None:
        if not _is_in_a_step():
            become_functional(self, *arguments, **options)

    Sequential._build_graph_network_for_inferred_shape = unless_in_a_step


def _is_in_a_step() -> bool:
    """Returns whether the default graph is that of a step, or of a branch, loop or function in one."""
    graph = tf.compat.v1.get_default_graph()
    while not isinstance(graph, StepGraph):
        if (graph := getattr(graph, "outer_graph", None)) is None:
            return False
    return True
