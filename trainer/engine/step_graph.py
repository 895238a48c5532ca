"""The graph of a traced step: what programs written for TensorFlow 1 expect of a graph, and what they leave to it.

A program for TensorFlow 1 holds the assignments that it wants to run: it makes the train_op depend on them, or runs
them on demand (a hook, a Scaffold). Code for TensorFlow 2 writes `variable.assign(value)` as a statement and lets go of
the result. So an assignment whose result nobody has when the next operation is made, and that no other operation of
the step waits for, is left to the graph, and runs.
"""

import os
import weakref
from collections.abc import Mapping
from typing import Any

import tensorflow as tf
from tensorflow.python.framework import func_graph

# Keras makes assignments that it means to run whatever it does with the result.
_KERAS_PATHS = ("/keras/src/", "/tf_keras/src/")


class StepGraph(func_graph.FuncGraph):
    """A graph that finds variables by name and knows which assignments are left to it.

    Args:
      name: for the operations that stand for the whole graph.
      variables: variables by name, looked up when they are asked for.
    """

    def __init__(self, name: str, variables: Mapping[str, tf.Variable] | Any):
        super().__init__(name, collections={})
        self._step_variables = variables
        self._values: dict[str, tf.Tensor] = {}
        self._undecided: list[tuple[tf.Operation, weakref.ref]] = []
        self._left_to_graph: set[tf.Operation] = set()
        self._num_traced: int | None = None

    def end_trace(self) -> None:
        """Notes that what is made from now on, by hooks say, is no part of the step unless it is asked for."""
        self._decide()
        # Who makes other operations wait for an assignment wants it when those run.
        self._left_to_graph = {operation for operation in self._left_to_graph if not operation._control_outputs}
        self._num_traced = len(self.get_operations())

    def traced_operations(self) -> list[tf.Operation]:
        """Returns the operations that the step made, in the order of the text."""
        return self.get_operations()[: self._num_traced]

    def as_graph_element(self, obj: Any, allow_tensor: bool = True, allow_operation: bool = True) -> Any:
        """See `tf.Graph`; as in TensorFlow 1, `NAME:0` of a variable is its value."""
        try:
            return super().as_graph_element(obj, allow_tensor, allow_operation)
        except KeyError:
            name, colon, index = obj.removesuffix("/read:0").partition(":")
            if obj == name or (colon and index != "0") or name not in self._step_variables:
                raise
        if name not in self._values:
            with self.as_default():
                self._values[name] = tf.identity(self._step_variables[name])
        return self._values[name]

    def note_assignment(self, operation: tf.Operation, result: Any) -> None:
        """Takes note of an assignment just made; whether `result` is let go of decides who runs it."""
        self._undecided.append((operation, weakref.ref(result)))

    def is_left_to_graph(self, operation: tf.Operation) -> bool:
        """Returns whether whoever made an assignment counts on the graph to run it."""
        self._decide()
        return operation in self._left_to_graph or _is_made_by_keras(operation)

    def _decide(self) -> None:
        self._left_to_graph |= {operation for operation, result in self._undecided if result() is None}
        self._undecided = []

    def _create_op_internal(self, *args: Any, **kwargs: Any) -> tf.Operation:
        self._decide()
        return super()._create_op_internal(*args, **kwargs)


def note_assignment(operation: tf.Operation, result: Any) -> None:
    """Tells the graph that is being traced, if it is that of a step, of an assignment."""
    graph = operation.graph if isinstance(operation, tf.Operation) else None
    if isinstance(graph, StepGraph):
        graph.note_assignment(operation, result)


def _is_made_by_keras(operation: tf.Operation) -> bool:
    # Every operation comes through this file, and through TensorFlow.
    makers = (__file__, os.path.dirname(tf.__file__) + os.sep)
    callers = [frame.filename for frame in operation.traceback if not frame.filename.startswith(makers)]
    return bool(callers) and any(part in callers[-1] for part in _KERAS_PATHS)
