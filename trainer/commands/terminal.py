"""What people see: tables, and a progress line that rewrites itself on a terminal and stays quiet in a log file."""

import contextlib
import logging
import shutil
import sys
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from typing import TextIO

_LOG_INTERVAL_SECS = 15.0
_REDRAW_INTERVAL_SECS = 0.2


class ProgressLine:
    """One line on stderr: rewritten in place on a terminal, printed anew every 15 seconds elsewhere.

    Threads may share it: what one of them prints within `set_aside` does not continue what another has drawn.
    """

    def __init__(self, stream: TextIO | None = None):
        self._stream = stream or sys.stderr
        self._is_terminal = self._stream.isatty()
        self._next_secs = float("-inf")
        self._is_line_open = False
        self._lock = threading.RLock()

    def show(self, text: str, *, is_last: bool = False) -> None:
        """Shows `text` if it is time to; always when it is the last one."""
        interval_secs = _REDRAW_INTERVAL_SECS if self._is_terminal else _LOG_INTERVAL_SECS
        with self._lock:
            now_secs = time.monotonic()
            if not is_last and now_secs < self._next_secs:
                return
            self._next_secs = now_secs + interval_secs
            if self._is_terminal:
                width = shutil.get_terminal_size().columns - 1
                self._stream.write(f"\r{text[:width]:<{width}}")
                self._is_line_open = True
            else:
                self._stream.write(f"{text}\n")
            self._stream.flush()

    @contextlib.contextmanager
    def set_aside(self) -> Iterator[None]:
        """Ends the line, so that what the block prints starts on its own; nothing is drawn until it is printed."""
        with self._lock:
            if self._is_line_open:
                self._stream.write("\n")
                self._stream.flush()
                self._is_line_open = False
            yield

    def close(self) -> None:
        """Ends the line; it may be drawn anew."""
        with self.set_aside():
            pass


class MessagesApart:
    """Sets a progress line aside, until `close`, while a logger prints a message, which would else continue it."""

    def __init__(self, line: ProgressLine, logger: logging.Logger):
        self._line = line
        self._logger = logger
        self._print = logger.handle
        # A handler, or a filter, would be called beside those that print, not around them.
        vars(logger)["handle"] = self._handle

    def close(self) -> None:
        """Leaves the logger as it was."""
        vars(self._logger).pop("handle")

    def _handle(self, record: logging.LogRecord) -> None:
        with self._line.set_aside():
            self._print(record)


def format_duration(seconds: float) -> str:
    """Returns a duration as people say it: `45 s`, `3 min 20 s`, `2 h 05 min`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Returns an aligned text table; columns of numbers are aligned to the right."""
    cells = [[_cell(value) for value in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(header, *cells, strict=True)]
    numeric = [all(_is_number(row[index]) for row in cells) and bool(cells) for index in range(len(header))]
    lines = [_align(header, widths, numeric), "  ".join("-" * width for width in widths)]
    return "\n".join([*lines, *(_align(row, widths, numeric) for row in cells)])


def _align(row: Sequence[str], widths: Sequence[int], numeric: Sequence[bool]) -> str:
    cells = [
        cell.rjust(width) if is_right else cell.ljust(width)
        for cell, width, is_right in zip(row, widths, numeric, strict=True)
    ]
    return "  ".join(cells).rstrip()


def _cell(value: object) -> str:
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)


def _is_number(cell: str) -> bool:
    """Whether a cell belongs into a column of numbers; an empty one or a dash stands for a number that is not there."""
    return cell in ("", "-") or cell.strip("-%").replace(",", "").replace(".", "", 1).isdigit()
