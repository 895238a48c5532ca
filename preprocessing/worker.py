"""What one worker process has for its work: threads, a limit on pictures in memory, and where it reports progress."""

import collections
import concurrent.futures
import contextlib
import dataclasses
import functools
import itertools
import os
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, TypeVar

from preprocessing import pixels, process_pool, progress
from preprocessing.options import ImageOptions

_Argument = TypeVar("_Argument")
_Result = TypeVar("_Result")

# From this size on, one picture is decoded at a time: 50 megapixels and their copies take most of a gigabyte.
_LARGE_PIXELS = 8_000_000
_TASK_SIZE = 32
_MIN_SUBMITTED = 64  # images: fewer are done before a process has started


@dataclasses.dataclass(frozen=True)
class WorkerOptions:
    """How a worker process works; `progress_folder` is "" where nobody watches.

    With `num_processes`, larger pieces of work go to so many processes beside it, each with one thread.
    """

    num_threads: int = 2
    num_processes: int = 0
    progress_folder: str = ""
    max_pixels: int = ImageOptions.max_pixels


class Worker:
    """The means of one worker process; `close` ends its threads."""

    def __init__(self, options: WorkerOptions):
        self._options = options
        self._processes: process_pool.ProcessPool | None = None
        self.num_threads = options.num_threads
        self.progress = progress.Reporter(options.progress_folder)
        self._pool = concurrent.futures.ThreadPoolExecutor(options.num_threads)
        pixels.set_up_pillow(options.max_pixels)
        # Many threads may wait for a network, but decoding with more threads than cores only takes memory.
        self._decoders = threading.BoundedSemaphore(os.cpu_count() or 1)
        self._large_decoder = threading.Lock()

    def map(self, function: Callable[[_Argument], _Result], arguments: Iterable[_Argument]) -> Iterator[_Result]:
        """Yields `function` of each argument in order, with few results waiting: they may be large."""
        remaining = iter(arguments)
        ahead = self.num_threads + 2
        waiting = collections.deque(
            self._pool.submit(function, argument) for argument in itertools.islice(remaining, ahead)
        )
        while waiting:
            result = waiting.popleft().result()
            for argument in itertools.islice(remaining, 1):
                waiting.append(self._pool.submit(function, argument))
            yield result

    def map_each(self, function: Callable[[_Argument], _Result], arguments: Sequence[_Argument]) -> list[_Result]:
        """Returns `function` of each argument, computed by all threads, a few arguments each at a time."""
        if self.num_threads == 1:
            return list(map(function, arguments))
        size = max(1, min(_TASK_SIZE, len(arguments) // self.num_threads))
        tasks = (arguments[start : start + size] for start in range(0, len(arguments), size))
        return list(itertools.chain.from_iterable(self.map(lambda task: list(map(function, task)), tasks)))

    @property
    def max_waiting(self) -> int:
        """How many results of `submit` may wait to be fetched while further work is submitted."""
        return 2 * self._options.num_processes

    def submit(self, size: int, function: Callable[..., _Result], *arguments: Any) -> Callable[[], _Result]:
        """Computes `function(*arguments, worker)` for so many images; returns what waits for its result.

        It is done here and now, or by another process with a worker of its own when that is worth it. Then function,
        arguments and result travel.
        """
        if not self._options.num_processes or size < _MIN_SUBMITTED:
            result = function(*arguments, self)
            return lambda: result
        self._processes = self._processes or process_pool.ProcessPool(self._options.num_processes)
        options = dataclasses.replace(self._options, num_threads=1, num_processes=0)
        return self._processes.submit(_call, function, arguments, options)

    @contextlib.contextmanager
    def decoding(self, num_pixels: int) -> Iterator[None]:
        """Waits until a picture of this size may be decoded."""
        with self._large_decoder if num_pixels > _LARGE_PIXELS else contextlib.nullcontext(), self._decoders:
            yield

    def close(self) -> None:
        """Ends threads and processes."""
        if self._processes:
            self._processes.close()
        self._pool.shutdown(cancel_futures=True)
        self.progress.close()


def _call(function: Callable[..., _Result], arguments: Sequence[Any], options: WorkerOptions) -> _Result:
    return function(*arguments, _worker_of_process(options))


@functools.cache
def _worker_of_process(options: WorkerOptions) -> Worker:
    return Worker(options)
