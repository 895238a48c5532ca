"""TensorBoard event files."""

import itertools
import posixpath
import socket
import time
from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow as tf
from absl import logging
from google.protobuf import message

from trainer.engine import host_values

_FILE_NUMBERS = itertools.count()


class EventWriter:
    """Writes scalars and serialised summaries to one event file of a directory, made at the first write."""

    def __init__(self, directory: str):
        self._directory = directory
        self._file: tf.io.TFRecordWriter | None = None

    def scalars(self, values: Mapping[str, Any], step: int) -> None:
        """Writes numbers by tag; what is no scalar number is left out."""
        summary = tf.compat.v1.Summary()
        for tag, value in sorted(values.items()):
            array = host_values.array(value)
            if array.ndim == 0 and array.dtype.kind in "fiub":
                summary.value.add(tag=tag, simple_value=float(array))
            else:
                logging.debug("no event for %s: it is not a scalar number", tag)
        self._write(tf.compat.v1.Event(summary=summary, step=step, wall_time=time.time()))

    def metrics(self, values: Mapping[str, Any], step: int) -> None:
        """Writes the results of an evaluation: numbers, arrays, and serialised summaries, such as images, by tag."""
        summary = tf.compat.v1.Summary()
        for tag, value in sorted(values.items()):
            if isinstance(value, bytes):
                _add_summaries(summary, tag, value)
            elif np.ndim(value) == 0:
                summary.value.add(tag=tag, simple_value=float(value))
            else:
                summary.value.add(tag=tag, node_name=tag, tensor=tf.make_tensor_proto(value))
        self._write(tf.compat.v1.Event(summary=summary, step=step, wall_time=time.time()))

    def summary(self, serialised: bytes, step: int) -> None:
        """Writes the summaries that a graph's summary operations made."""
        summary = tf.compat.v1.Summary.FromString(serialised)
        self._write(tf.compat.v1.Event(summary=summary, step=step, wall_time=time.time()))

    def flush(self) -> None:
        """Makes what has been written visible to readers."""
        if self._file is not None:
            self._file.flush()

    def close(self) -> None:
        """Ends the file; a later write begins another."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def _write(self, event: tf.compat.v1.Event) -> None:
        if self._file is None:
            tf.io.gfile.makedirs(self._directory)
            name = f"events.out.tfevents.{time.time():.0f}.{socket.gethostname()}.{next(_FILE_NUMBERS)}"
            self._file = tf.io.TFRecordWriter(posixpath.join(self._directory, name))
            self._file.write(
                tf.compat.v1.Event(wall_time=time.time(), file_version="brain.Event:2").SerializeToString()
            )
        self._file.write(event.SerializeToString())


def _add_summaries(summary: tf.compat.v1.Summary, tag: str, serialised: bytes) -> None:
    try:
        values = tf.compat.v1.Summary.FromString(serialised).value
    except message.DecodeError:
        logging.warning("no event for the metric %s: its text is no serialised summary", tag)
        return
    for number, value in enumerate(values):
        summary.value.add().CopyFrom(value)
        summary.value[-1].tag = f"{tag}/{number}"
