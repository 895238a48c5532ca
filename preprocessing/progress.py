"""How far a running conversion is: workers of this machine count into small files, the command reads and shows them."""

import contextlib
import os
import pathlib
import struct
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from typing import NamedTuple, TextIO

_COUNTS = struct.Struct("<QQ")
_SUFFIX = ".progress"


class Counts(NamedTuple):
    """Images so far."""

    scanned: int
    written: int


class Reporter:
    """Counts for one worker step; `folder` is "" where nobody watches (workers of another machine)."""

    def __init__(self, folder: str):
        self._scanned = 0
        self._written = 0
        self._file = open(os.path.join(folder, uuid.uuid4().hex + _SUFFIX), "xb", buffering=0) if folder else None  # noqa: SIM115

    def add(self, *, scanned: int = 0, written: int = 0) -> None:
        """Adds to the counts; costs one small write."""
        self._scanned += scanned
        self._written += written
        if self._file:
            os.pwrite(self._file.fileno(), _COUNTS.pack(self._scanned, self._written), 0)

    def close(self) -> None:
        """Closes the file; what was counted stays in it."""
        if self._file:
            self._file.close()


def read_counts(folder: str) -> Counts:
    """Returns the sum over all workers."""
    scanned = written = 0
    for path in pathlib.Path(folder).glob(f"*{_SUFFIX}"):
        data = path.read_bytes()
        if len(data) == _COUNTS.size:
            counts = _COUNTS.unpack(data)
            scanned, written = scanned + counts[0], written + counts[1]
    return Counts(scanned, written)


@contextlib.contextmanager
def shown(folder: str, stream: TextIO | None = None) -> Iterator[None]:
    """Shows the counts in `folder` while the block runs: one changing line on a terminal, log lines elsewhere."""
    stream = stream or sys.stderr
    finished = threading.Event()
    thread = threading.Thread(target=_show_until, args=(finished, folder, stream), daemon=True)
    thread.start()
    try:
        yield
    finally:
        finished.set()
        thread.join()


def _show_until(finished: threading.Event, folder: str, stream: TextIO) -> None:
    is_terminal = stream.isatty()
    started_secs = time.monotonic()
    while not finished.wait(0.25 if is_terminal else 15.0):
        line = _describe(read_counts(folder), time.monotonic() - started_secs)
        stream.write(f"\r{line:<78}" if is_terminal else f"{line}\n")
        stream.flush()
    if is_terminal:
        stream.write(f"\r{'':<78}\r")
        stream.flush()


def _describe(counts: Counts, elapsed_secs: float) -> str:
    if not counts.written:
        return f"checked {counts.scanned:,} images ({counts.scanned / elapsed_secs:,.0f}/s)"
    return f"written {counts.written:,} of {counts.scanned:,} images ({counts.written / elapsed_secs:,.0f}/s)"
