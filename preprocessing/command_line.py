"""Arguments and exit statuses, the same for every command of the project."""

import argparse
import contextlib
import os
import pathlib
import select
import signal
import sys
import threading
import types
from collections.abc import Callable, Iterator, Sequence
from typing import NoReturn

from preprocessing.errors import USER_ERROR_EXIT_STATUS, UserError

INTERRUPTED_EXIT_STATUS = 130
BROKEN_PIPE_EXIT_STATUS = 141
_SEND_AGAIN_AFTER_SECS = 0.05


class CommandParser(argparse.ArgumentParser):
    """An argument parser whose errors are `UserError`s, so that they read and exit like all others."""

    def __init__(self, prog: str, description: str, *, epilog: str | None = None):
        super().__init__(
            prog=prog,
            description=description,
            epilog=epilog,
            allow_abbrev=False,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )

    def error(self, message: str) -> NoReturn:
        """Raises UserError in place of printing the usage."""
        raise UserError(message, remedy=f"see {self.prog} --help")


def file_to_write(path: str, *, made_folder: str = "") -> str:
    """Returns `path` if a local file can be written there: asked before hours of work, not after. A `type` of argparse.

    Args:
      path: the file.
      made_folder: a folder that the work makes, which may hold the file.

    Raises:
      UserError: when it cannot.
    """
    folder = os.path.dirname(path) or "."
    if made_folder and os.path.abspath(folder) == os.path.abspath(made_folder) and not os.path.lexists(folder):
        return folder_to_write(folder) and path
    if not os.path.isdir(folder):
        raise UserError(f"there is no folder {folder}", where=path, remedy="make it, or name another file")
    if os.path.isdir(path):
        raise UserError("is a folder", where=path, remedy="name a file")
    return _require_permission(path)


def write_file(path: str, text: str) -> None:
    """Writes a local UTF-8 file; UserError when the disk is full, for instance."""
    try:
        pathlib.Path(path).write_text(text, encoding="utf-8")
    except OSError as error:
        raise UserError(f"cannot be written ({error.strerror or error})", where=path) from error


def folder_to_write(path: str) -> str:
    """Returns `path` if it is a local folder that can be written, or can be made. A `type` of argparse.

    Raises:
      UserError: when it cannot.
    """
    existing = _existing_part(path)
    if not os.path.isdir(existing):
        raise UserError(f"{existing} is not a folder", where=path, remedy="name another folder")
    return _require_permission(path)


def _existing_part(path: str) -> str:
    """Returns `path`, or the nearest folder above it that exists."""
    existing = os.path.abspath(path)
    while not os.path.lexists(existing):
        existing = os.path.dirname(existing)
    return existing


def _require_permission(path: str) -> str:
    if os.access(_existing_part(path), os.W_OK):
        return path
    raise UserError("may not be written", where=path, remedy="name another place")


def run(command: Callable[[Sequence[str]], int], program: str, argv: Sequence[str] | None = None) -> int:
    """Runs a command and returns its exit status: its own, 2 (the user's mistake), 130 (Ctrl-C) or 141 (`| head`).

    Args:
      command: takes the arguments, without `--debug`, which shows the stack trace of an error.
      program: the name before an error.
      argv: the arguments; by default this process's.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    # What follows `--` belongs to another program.
    own_count = words.index("--") if "--" in words else len(words)
    is_debugging = "--debug" in words[:own_count]
    try:
        with _every_interrupt_heard(), _import_errors_of_ctrl_c_told():
            status = command([word for word in words[:own_count] if word != "--debug"] + words[own_count:])
        sys.stdout.flush()
        return status
    except UserError as error:
        if is_debugging:
            raise
        print(f"{program}: {error}", file=sys.stderr)
        return USER_ERROR_EXIT_STATUS
    except KeyboardInterrupt:
        if is_debugging:
            raise
        print(f"{program}: interrupted", file=sys.stderr)
        return INTERRUPTED_EXIT_STATUS
    except BrokenPipeError:
        if is_debugging or not _is_output_abandoned():
            raise
        # Python would complain once more when it flushes the rest at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return BROKEN_PIPE_EXIT_STATUS


@contextlib.contextmanager
def _every_interrupt_heard() -> Iterator[None]:
    """Sends Ctrl-C once more when it came amid a `__del__`, or what a weak reference calls: Python ignores it there."""
    shown = sys.unraisablehook
    timers: list[threading.Timer] = []

    def send_again(unraisable: "sys.UnraisableHookArgs") -> None:
        if not issubclass(unraisable.exc_type, KeyboardInterrupt):
            shown(unraisable)
            return
        # At once, it would come amid the same call.
        main_thread = threading.main_thread().ident
        timers.append(threading.Timer(_SEND_AGAIN_AFTER_SECS, signal.pthread_kill, (main_thread, signal.SIGINT)))
        timers[-1].start()

    sys.unraisablehook = send_again
    try:
        yield
    finally:
        sys.unraisablehook = shown
        for timer in timers:
            timer.cancel()


@contextlib.contextmanager
def _import_errors_of_ctrl_c_told() -> Iterator[None]:
    """Raises KeyboardInterrupt for the ImportError that NumPy makes of Ctrl-C while it is loaded."""
    heard = signal.getsignal(signal.SIGINT)
    if heard is not signal.default_int_handler or threading.current_thread() is not threading.main_thread():
        yield
        return
    arrived: list[int] = []

    def interrupt(number: int, frame: types.FrameType | None) -> None:
        arrived.append(number)
        signal.default_int_handler(number, frame)

    signal.signal(signal.SIGINT, interrupt)
    try:
        yield
    except ImportError as error:
        if arrived:
            raise KeyboardInterrupt from error
        raise
    finally:
        signal.signal(signal.SIGINT, heard)


def _is_output_abandoned() -> bool:
    """Whether nobody reads our standard output any more; another pipe may be the one that broke."""
    poll = select.poll()
    poll.register(sys.stdout.fileno(), select.POLLOUT)
    return any(event & select.POLLERR for _, event in poll.poll(0))
