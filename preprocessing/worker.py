"""What one worker process has for its work: threads, a limit on pictures in memory, and where it reports progress."""

import collections
import concurrent.futures
import contextlib
import dataclasses
import itertools
import os
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

from preprocessing import pixels, progress
from preprocessing.options import ImageOptions

_Argument = TypeVar("_Argument")
_Result = TypeVar("_Result")

# From this size on, one picture is decoded at a time: 50 megapixels and their copies take most of a gigabyte.
_LARGE_PIXELS = 8_000_000


@dataclasses.dataclass(frozen=True)
class WorkerOptions:
    """How a worker process works; `progress_folder` is "" where nobody watches."""

    num_threads: int = 2
    progress_folder: str = ""
    max_pixels: int = ImageOptions.max_pixels


class Worker:
    """The means of one worker process; `close` ends its threads."""

    def __init__(self, options: WorkerOptions):
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

    @contextlib.contextmanager
    def decoding(self, num_pixels: int) -> Iterator[None]:
        """Waits until a picture of this size may be decoded."""
        with self._large_decoder if num_pixels > _LARGE_PIXELS else contextlib.nullcontext(), self._decoders:
            yield

    def close(self) -> None:
        """Ends the threads."""
        self._pool.shutdown(cancel_futures=True)
        self.progress.close()
