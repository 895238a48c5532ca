"""A profile as a timeline in the Chrome trace format, to be opened with chrome://tracing or ui.perfetto.dev.

Format: https://docs.google.com/document/d/1CvAClvFfyA5R-PhYUmn5OOQtYMH4h6I0nSsKchNAySU (Trace Event Format).
"""

import json
import posixpath
from collections.abc import Iterator
from typing import Any

import tensorflow as tf
from absl import logging
from tensorflow.tsl.profiler.protobuf import xplane_pb2

_NANOSECONDS = 1e-3
_PICOSECONDS = 1e-6


def write(profile_dir: str, path: str) -> None:
    """Writes the newest profile below `profile_dir` as a timeline.

    Args:
      profile_dir: where a profiler has written `plugins/profile/TIME/*.xplane.pb`.
      path: the JSON file to write.
    """
    runs = sorted(tf.io.gfile.glob(posixpath.join(profile_dir, "plugins", "profile", "*")))
    if not runs:
        logging.warning("no profile in %s: no %s", profile_dir, path)
        return
    planes = [plane for file in tf.io.gfile.glob(posixpath.join(runs[-1], "*.xplane.pb")) for plane in _planes(file)]
    events = [event for number, plane in enumerate(planes) for event in _plane_events(number, plane)]
    with tf.io.gfile.GFile(path, "w") as file:
        json.dump({"traceEvents": events}, file)


def _planes(path: str) -> list[Any]:
    with tf.io.gfile.GFile(path, "rb") as file:
        return list(xplane_pb2.XSpace.FromString(file.read()).planes)


def _plane_events(process: int, plane: Any) -> Iterator[dict[str, Any]]:
    """Yields the events of a device or of the host: a process of the trace; times are in microseconds."""
    yield _name("process_name", plane.name, process)
    for thread, line in enumerate(plane.lines):
        yield _name("thread_name", line.display_name or line.name, process, thread)
        for event in line.events:
            metadata = plane.event_metadata[event.metadata_id]
            yield {
                "ph": "X",
                "pid": process,
                "tid": thread,
                "name": metadata.display_name or metadata.name,
                "ts": line.timestamp_ns * _NANOSECONDS + event.offset_ps * _PICOSECONDS,
                "dur": event.duration_ps * _PICOSECONDS,
            }


def _name(kind: str, name: str, process: int, thread: int = 0) -> dict[str, Any]:
    return {"ph": "M", "pid": process, "tid": thread, "name": kind, "args": {"name": name}}
