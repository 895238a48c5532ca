import contextlib
import os
import pathlib
import signal
import subprocess
import sys
import threading
import time

import pytest

from preprocessing import process_pool
from preprocessing.errors import UserError
from preprocessing.process_pool import ProcessPool
from preprocessing.worker import Worker, WorkerOptions
from tests.preprocessing import pictures


def num_and_process(number: int, worker: Worker) -> tuple[int, int, int]:
    return number, os.getpid(), worker.num_threads


class _BreaksOff:
    def __reduce__(self):
        os._exit(9)


def answer_that_breaks_off() -> list:
    return [bytes(10_000_000), _BreaksOff()]


@pytest.fixture
def pool():
    with contextlib.closing(ProcessPool(2)) as made:
        yield made


def test_work_is_done_elsewhere(pool):
    assert pool.submit(os.getpid)() != os.getpid()
    waiting = [pool.submit(divmod, number, 7) for number in range(50)]
    assert [result() for result in waiting] == [divmod(number, 7) for number in range(50)]


def test_what_is_raised_there_is_raised_here(pool):
    with pytest.raises(FileNotFoundError):
        pool.submit(os.listdir, "/no/such/folder")()


def test_a_killed_process_is_one_line(pool):
    with pytest.raises(UserError, match="was killed"):
        pool.submit(signal.raise_signal, signal.SIGKILL)()


def test_a_process_that_dies_amid_its_answer_is_noticed(pool):
    with pytest.raises(UserError, match="was killed"):
        pool.submit(answer_that_breaks_off)()


def test_a_result_that_cannot_be_sent_is_told(pool):
    with pytest.raises(TypeError, match="the result cannot be sent: cannot pickle"):
        pool.submit(threading.Lock)()


def test_closing_does_not_wait_for_work():
    pool = ProcessPool(1)
    pool.submit(os.getpid)()
    pool.submit(time.sleep, 60)
    started_secs = time.monotonic()
    pool.close()
    assert time.monotonic() - started_secs < 30


@pytest.mark.slow
def test_processes_end_with_the_one_that_is_killed():
    program = "import os, time; from preprocessing.process_pool import ProcessPool; pool = ProcessPool(1);"
    program += "print(pool.submit(os.getpid)(), flush=True); pool.submit(time.sleep, 600); time.sleep(600)"
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        child = pathlib.Path("/proc", process.stdout.readline().decode().strip())
        assert child.exists()
        process.kill()
    deadline_secs = time.monotonic() + 30
    while child.exists() and time.monotonic() < deadline_secs:
        time.sleep(0.05)
    assert not child.exists()


def _said(program: str) -> tuple[str, str]:
    # A suite that runs in the background has Ctrl-C ignored, and so would the program.
    start = "import os, signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
    command = [sys.executable, "-c", start + "from preprocessing import process_pool\n" + program]
    finished = subprocess.run(command, capture_output=True, text=True, check=True)
    return finished.stdout, finished.stderr


def test_ctrl_c_amid_the_request_for_a_process_shows_no_trace_of_the_server():
    program = """
from multiprocessing import reduction
pool = process_pool.ProcessPool(1)
pool.submit(os.getpid)()
send = reduction.sendfds
def interrupted(*arguments):
    signal.raise_signal(signal.SIGINT)
    send(*arguments)
reduction.sendfds = interrupted
try:
    process_pool.ProcessPool(1)
except KeyboardInterrupt:
    reduction.sendfds = send
    print(process_pool.ProcessPool(1).submit(divmod, 7, 2)())
"""
    assert _said(program) == ("(3, 1)\n", "")


def test_ctrl_c_does_not_reach_the_server_while_it_loads(tmp_path):
    (tmp_path / "interrupted.py").write_text("import os, signal; os.kill(os.getpid(), signal.SIGINT)")
    program = f"""
os.environ["PYTHONPATH"] = {os.pathsep.join([str(tmp_path), *sys.path])!r}
process_pool._PRELOADED.insert(0, "interrupted")
process_pool.warm_up()
print(process_pool.ProcessPool(1).submit(divmod, 7, 2)())
"""
    assert _said(program) == ("(3, 1)\n", "")


def test_a_long_path_of_temporary_files_is_told(tmp_path):
    long = tmp_path / ("x" * 100)
    long.mkdir()
    program = f"""
import tempfile
tempfile.tempdir = {str(long)!r}
try:
    process_pool.warm_up()
except process_pool.UserError as error:
    print(error)
"""
    message = f"{long}: is too long a path for the sockets of processes; set TMPDIR to a shorter one\n"
    assert _said(program) == (message, "")
    assert not list(long.iterdir())


def test_storage_of_google_is_read_with_threads():
    assert process_pool.sensible_number("gs://bucket/photos") == 0


def test_a_worker_keeps_small_work_and_gives_away_large_work():
    with contextlib.closing(Worker(WorkerOptions(num_threads=2, num_processes=2))) as worker:
        assert worker.submit(3, num_and_process, 5)() == (5, os.getpid(), 2)
        number, process, num_threads = worker.submit(1_000, num_and_process, 5)()
    assert (number, num_threads) == (5, 1)
    assert process != os.getpid()


def test_a_worker_without_processes_does_all_work_itself():
    with contextlib.closing(Worker(WorkerOptions(num_threads=2))) as worker:
        assert worker.max_waiting == 0
        assert worker.submit(1_000, num_and_process, 5)() == (5, os.getpid(), 2)


@pytest.mark.parametrize("flags", [[], pytest.param(["--curate"], marks=pytest.mark.slow)], ids=["copied", "curated"])
def test_processes_make_the_same_shards(convert, tmp_path, monkeypatch, flags):
    pictures.write_class_folders(tmp_path / "photos", num_per_class=150)
    (tmp_path / "photos" / "cat" / "damaged.jpg").write_bytes(b"\xff\xd8\xff")
    monkeypatch.setattr(process_pool, "sensible_number", lambda place: 2)
    with_processes = convert(tmp_path / "photos", *flags, output="with")
    monkeypatch.setattr(process_pool, "sensible_number", lambda place: 0)
    without = convert(tmp_path / "photos", *flags, output="without")
    assert with_processes.info.counts.written == 300
    assert with_processes.files() == without.files()
