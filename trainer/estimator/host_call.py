"""A model_fn's host_call: a function of the step's outputs that runs on the host, in a graph and session of its own.

It is written for TensorFlow 1: it returns the operations to run, and its summary writers are to be initialised and
flushed for it.
"""

import collections
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow.python.ops import summary_ops_v2

from trainer.engine import host_values

# A host_call runs so many steps late, so that the device need not wait for the host.
_LAG_STEPS = 1


class HostCall:
    """Runs a host function on the outputs of every so many steps, a little later than they were dispatched."""

    def __init__(self, host_fn: Callable[..., Any] | None, every_n_steps: int):
        self._host_fn: Any = host_fn
        self._every_n_steps = every_n_steps
        self._program: _HostProgram | None = None
        self._pending: collections.deque[Any] = collections.deque()

    def add(self, step: int, outputs: Mapping[str, Any]) -> None:
        """Takes the outputs of a step."""
        if self._host_fn is None or step % self._every_n_steps:
            return
        self._pending.append(outputs["host_call"])
        while len(self._pending) > _LAG_STEPS:
            self._run(self._pending.popleft())

    def flush(self) -> None:
        """Catches up with the steps."""
        while self._pending:
            self._run(self._pending.popleft())
        if self._program is not None:
            self._program.flush()

    def close(self) -> None:
        """Catches up and ends."""
        self.flush()
        if self._program is not None:
            self._program.close()

    def _run(self, tensors: Any) -> None:
        arrays = tf.nest.map_structure(host_values.array, tensors)
        if self._program is None:
            self._program = _HostProgram(self._host_fn, arrays)
        self._program.run(arrays)


class _HostProgram:
    """The host function in its graph."""

    def __init__(self, host_fn: Callable[..., Any], arrays: Any):
        self._graph = tf.Graph()
        with self._graph.as_default():
            placeholders = tf.nest.map_structure(_placeholder, arrays)
            made = host_fn(**placeholders) if isinstance(placeholders, Mapping) else host_fn(*placeholders)
            self._check_summaries()
            asked_for = [element for element in tf.nest.flatten(made) if element is not None]
            operations = [*asked_for, *tf.compat.v1.summary.all_v2_summary_ops()]
            self._flush = [_flush_operation(operation) for operation in _writers(self._graph)]
            initializers = [
                tf.compat.v1.global_variables_initializer(),
                tf.compat.v1.local_variables_initializer(),
                tf.compat.v1.tables_initializer(),
                summary_ops_v2.summary_writer_initializer_op(),
            ]
        self._session = tf.compat.v1.Session(graph=self._graph)
        self._session.run(initializers)
        self._step = self._session.make_callable(operations, feed_list=tf.nest.flatten(placeholders))

    def run(self, arrays: Any) -> None:
        """Runs it once."""
        self._step(*tf.nest.flatten(arrays))

    def flush(self) -> None:
        """Makes its summaries visible."""
        self._session.run(self._flush)

    def close(self) -> None:
        """Ends its session."""
        self._session.close()

    def _check_summaries(self) -> None:
        if self._graph.get_collection(tf.compat.v1.GraphKeys.SUMMARIES):
            raise ValueError(
                "tf.summary of TensorFlow 1 is not supported in a host_call, because nothing collects it; use "
                "tf.compat.v2.summary inside a writer: with tf.compat.v2.summary.create_file_writer(...).as_default()"
            )


def _placeholder(array: np.ndarray) -> tf.Tensor:
    shape = [None, *array.shape[1:]] if array.ndim else []
    return tf.compat.v1.placeholder(array.dtype, shape)


def _writers(graph: tf.Graph) -> list[tf.Operation]:
    return [operation for operation in graph.get_operations() if operation.type == "SummaryWriter"]


def _flush_operation(writer: tf.Operation) -> tf.Operation:
    return tf.raw_ops.FlushSummaryWriter(writer=writer.outputs[0])
