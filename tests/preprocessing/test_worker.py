import contextlib
import threading
import time

import pytest

from preprocessing.worker import Worker, WorkerOptions


@pytest.fixture
def worker():
    with contextlib.closing(Worker(WorkerOptions(num_threads=4))) as made:
        yield made


def test_results_keep_their_order(worker):
    def slow_first(number: int) -> int:
        time.sleep(0.02 if number == 0 else 0)
        return number * number

    assert list(worker.map(slow_first, range(100))) == [number * number for number in range(100)]


def test_only_a_few_results_wait(worker):
    taken = []

    def arguments():
        for number in range(1_000):
            taken.append(number)
            yield number

    results = worker.map(lambda number: number, arguments())
    next(results)
    assert len(taken) < 20


def test_an_error_reaches_the_caller(worker):
    with pytest.raises(ZeroDivisionError):
        list(worker.map(lambda number: 1 // number, [1, 0]))


def test_large_pictures_are_decoded_one_at_a_time(worker):
    running = 0
    most = 0
    lock = threading.Lock()

    def decode(_: int) -> None:
        nonlocal running, most
        with worker.decoding(num_pixels=50_000_000):
            with lock:
                running += 1
                most = max(most, running)
            time.sleep(0.005)
            with lock:
                running -= 1

    list(worker.map(decode, range(12)))
    assert most == 1
