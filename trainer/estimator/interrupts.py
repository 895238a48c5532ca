"""SIGINT and SIGTERM during training: the step in progress ends, a checkpoint is saved, then training stops.

SIGINT ends in `KeyboardInterrupt`, SIGTERM in `SystemExit(143)`: a program that does nothing about them exits with 130
and 143. A second SIGINT stops at once, without saving.
"""

import contextlib
import functools
import queue
import signal
import threading
from collections.abc import Iterator
from typing import Any

from absl import logging

TERMINATED_EXIT_STATUS = 128 + signal.SIGTERM


class Interrupts:
    """Remembers a signal until the loop asks for it."""

    def __init__(self):
        self._received: int | None = None

    @property
    def is_pending(self) -> bool:
        """Whether training should save and stop."""
        return self._received is not None

    def raise_pending(self) -> None:
        """Raises what the signal that was received stands for, once: a program that goes on may train again."""
        received, self._received = self._received, None
        if received == signal.SIGTERM:
            raise SystemExit(TERMINATED_EXIT_STATUS)
        if received is not None:
            raise KeyboardInterrupt

    @contextlib.contextmanager
    def watching(self) -> Iterator[None]:
        """Takes the signals over inside the `with` block; outside the main thread Python cannot: nothing happens."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        with _announcing() as announcements:
            receive = functools.partial(self._receive, announcements)
            before = {number: signal.signal(number, receive) for number in (signal.SIGINT, signal.SIGTERM)}
            try:
                yield
            except BaseException:
                self._received = None  # the loop has stopped, as was asked, and its caller knows
                raise
            finally:
                for number, handler in before.items():
                    signal.signal(number, handler if handler is not None else signal.SIG_DFL)

    def _receive(self, announcements: "queue.SimpleQueue[int | None]", number: int, frame: Any) -> None:
        del frame
        if self._received is not None and number == signal.SIGINT:
            raise KeyboardInterrupt
        self._received = number
        announcements.put(number)


@contextlib.contextmanager
def _announcing() -> Iterator["queue.SimpleQueue[int | None]"]:
    """Logs signals from a thread: a handler comes amid anything, also amid the writing of the same stream."""
    # Of all queues the one whose `put` may interrupt another of its own methods.
    announcements: queue.SimpleQueue[int | None] = queue.SimpleQueue()
    thread = threading.Thread(target=_announce, args=(announcements,), name="interrupts", daemon=True)
    thread.start()
    try:
        yield announcements
    finally:
        announcements.put(None)
        thread.join()


def _announce(announcements: "queue.SimpleQueue[int | None]") -> None:
    while (number := announcements.get()) is not None:
        logging.warning("%s received: saving a checkpoint, then stopping", signal.Signals(number).name)
