"""Processes beside this one for work that Python's lock would not let two threads do at once.

Reading, hashing and framing a file takes a tenth of a millisecond, half of it under the lock: two threads are no faster
than one. The processes load nothing of Beam, start in milliseconds, and end with the one that started them, however it
ends.
"""

import concurrent.futures
import contextlib
import multiprocessing
import os
import queue
import signal
import tempfile
import threading
import traceback
from collections.abc import Callable, Iterator
from multiprocessing import connection, forkserver, reduction, resource_tracker
from typing import Any, TypeVar

from preprocessing import storage
from preprocessing.errors import UserError

_Result = TypeVar("_Result")
_PRELOADED = ["preprocessing.writer", "preprocessing.curation.facts"]


def sensible_number(place: str) -> int:
    """Returns how many processes to use for files at this place: one for each processor.

    None for a single processor, and for Google Cloud Storage, where many threads wait for the network.
    """
    number = len(os.sched_getaffinity(0))
    return 0 if number == 1 or storage.is_remote(place) else number


def warm_up() -> None:
    """Starts loading, in another process, what the processes will need; they come from it later.

    Raises:
      UserError: the path of temporary files is longer than a socket's may be (108 bytes with its name, on Linux).
    """
    multiprocessing.get_context("forkserver").set_forkserver_preload(_PRELOADED)
    try:
        with ctrl_c_waits():
            forkserver.ensure_running()
    except OSError as error:
        if "path too long" not in str(error):
            raise
        what = "is too long a path for the sockets of processes"
        raise UserError(what, where=tempfile.gettempdir(), remedy="set TMPDIR to a shorter one") from error


class ProcessPool:
    """A number of processes; `close` ends them at once, whatever they do.

    Each has a pipe of its own, so that the death of one, even amid a message, is seen here and disturbs no other. The
    standard library's pool of processes waits for ever for the rest of such a message.
    """

    def __init__(self, number: int):
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(_PRELOADED)
        self._threads = concurrent.futures.ThreadPoolExecutor(number)
        self._idle: queue.SimpleQueue[connection.Connection] = queue.SimpleQueue()
        self._processes = []
        for _ in range(number):
            here, there = context.Pipe()
            process = context.Process(target=_serve, args=(there,), daemon=True)
            with ctrl_c_waits():
                process.start()
            there.close()
            self._processes.append(process)
            self._idle.put(here)

    def submit(self, function: Callable[..., _Result], *arguments: Any) -> Callable[[], _Result]:
        """Starts `function(*arguments)` in one of the processes; returns what waits for its result.

        Waiting raises what the function raised, or UserError when its process was killed.
        """
        return self._threads.submit(self._ask, function, arguments).result

    def close(self) -> None:
        """Ends the processes."""
        for process in self._processes:
            process.kill()
        self._threads.shutdown(cancel_futures=True)
        for process in self._processes:
            process.join()

    def _ask(self, function: Callable[..., _Result], arguments: tuple[Any, ...]) -> _Result:
        idle = self._idle.get()
        try:
            idle.send((function, arguments))
            has_succeeded, result = idle.recv()
        except (EOFError, ConnectionError) as error:
            what = "a process that converts images was killed, perhaps because the memory is full"
            raise UserError(what, remedy="--max_megapixels refuses images that take much") from error
        finally:
            self._idle.put(idle)
        if not has_succeeded:
            raise result
        return result


@contextlib.contextmanager
def ctrl_c_waits() -> Iterator[None]:
    """Puts off Ctrl-C until the block is done; what is started in the block never gets it.

    The standard library's server of processes dies with a stack trace when its client breaks off amid a request, and
    when Ctrl-C, which a terminal sends to all its processes, reaches it while it loads modules.
    """
    if threading.current_thread() is not threading.main_thread():  # Ctrl-C interrupts the main thread alone
        yield
        return
    resource_tracker.ensure_running()  # to start it within the block would lift the mask
    arrived: list[int] = []
    # The mask is inherited. It does not keep the signal from other threads of this process, hence the handler.
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
    handler = signal.signal(signal.SIGINT, lambda number, _: arrived.append(number))
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        signal.signal(signal.SIGINT, handler)
        if arrived:
            signal.raise_signal(signal.SIGINT)


def _serve(asked: connection.Connection) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the process that started this one
    threading.Thread(target=_end_with_parent, daemon=True).start()
    while True:
        try:
            function, arguments = asked.recv()
        except EOFError:
            return
        try:
            answer = True, function(*arguments)
        except Exception as error:
            error.add_note(traceback.format_exc())
            answer = False, error
        _send(asked, answer)


def _send(asked: connection.Connection, answer: tuple[bool, Any]) -> None:
    try:
        message = reduction.ForkingPickler.dumps(answer)
    except Exception as error:  # what a class says when it is pickled is its own affair
        message = reduction.ForkingPickler.dumps((False, TypeError(f"the result cannot be sent: {error}")))
    asked.send_bytes(message)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
    os._exit(1)
