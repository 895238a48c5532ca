import os
import pathlib
import signal
import subprocess
import sys
import time

import pytest

pytestmark = pytest.mark.slow

# A step that tells its process's id and waits for ever, in one of two processes, and keeps it with a thread.
PROGRAM = """
import os, pathlib, sys, tempfile, threading, time
import apache_beam as beam
from preprocessing import command_line, runner

def wait(file):
    pathlib.Path(file + ".part").write_text(str(os.getpid()))
    os.rename(file + ".part", file)
    thread = threading.Thread(target=time.sleep, args=(1_000_000,), daemon=False)
    thread.start()
    thread.join()

def main(arguments):
    with tempfile.TemporaryDirectory(dir=arguments[0]) as folder:
        options = runner.RunnerOptions(num_workers=2)
        workplace = runner.Workplace("photos", "dataset", pathlib.Path(folder))
        pipeline = runner.create_pipeline(options, workplace)
        pipeline | beam.Create([arguments[1]]) | beam.Map(wait)
        runner.run_to_end(pipeline, options, workplace)

sys.exit(command_line.run(main, "program"))
"""


@pytest.fixture
def job(tmp_path):
    """The program, whose step has begun, and the process of the step."""
    file = tmp_path / "process"
    command = [sys.executable, "-c", PROGRAM, str(tmp_path), str(file)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        try:
            while process.poll() is None and not file.exists():
                time.sleep(0.01)
            yield process, int(file.read_text())
        finally:
            process.kill()


def is_at_work(process_id: int) -> bool:
    """Whether there is such a process; one that has ended may wait for its parent to notice."""
    try:
        return pathlib.Path(f"/proc/{process_id}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_the_job_fails_in_one_line_when_a_process_is_killed(job):
    process, process_id = job
    os.kill(process_id, signal.SIGKILL)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 2
    assert errors.splitlines() == [
        "program: a process that converts images was killed, perhaps because the memory is full; lower --num_workers"
    ]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_processes_end_with_the_one_that_is_killed(job, number):
    process, process_id = job
    assert is_at_work(process_id)
    process.send_signal(number)
    process.wait()
    deadline_secs = time.monotonic() + 120
    while is_at_work(process_id) and time.monotonic() < deadline_secs:
        time.sleep(0.05)
    assert not is_at_work(process_id)
