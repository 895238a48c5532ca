"""`tf.summary.create_file_writer` as a model_fn uses it: `writer.init()` is an operation, and the writer stays open."""

from typing import Any

import tensorflow as tf
from tensorflow.python.ops import summary_ops_v2

from trainer import replica
from trainer.errors import UserError

_KEPT = "summary writers of a program"


class _Writer(summary_ops_v2.SummaryWriter):
    """A writer that is ready from the start, in a graph too."""

    def __init__(self, writer: Any):
        self._writer = writer

    def init(self) -> Any:
        """Returns an operation to wait for; None outside graphs."""
        operation = self._writer.init()
        return tf.no_op() if operation is None and not tf.executing_eagerly() else operation

    def set_as_default(self, step: Any = None) -> None:
        """Makes it the writer from now on."""
        _check_is_on_host()
        self._writer.set_as_default(step)

    def as_default(self, step: Any = None) -> Any:
        """Inside the `with` block it is the writer."""
        _check_is_on_host()
        return self._writer.as_default(step)

    def flush(self) -> Any:
        """Makes what was written visible."""
        return self._writer.flush()

    def close(self) -> Any:
        """Ends it."""
        return self._writer.close()


def create_file_writer(logdir: str, *args: Any, **kwargs: Any) -> _Writer:
    """Returns a writer of event files; the arguments are those of `tf.compat.v2.summary.create_file_writer`."""
    writer = _Writer(tf.compat.v2.summary.create_file_writer(logdir, *args, **kwargs))
    if not tf.executing_eagerly():
        # A writer that nothing refers to is closed, but the graph that writes with it runs later.
        tf.compat.v1.add_to_collection(_KEPT, writer)
    return writer


def _check_is_on_host() -> None:
    if replica.current().is_for_xla:
        raise UserError(
            "a model_fn cannot write files on a TPU",
            where="tf.summary.create_file_writer",
            remedy="write the summaries in the host_call of its TPUEstimatorSpec",
        )
