import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import time

import pytest

from preprocessing import output, schema
from preprocessing.dataset_info import DatasetInfo, RowCounts, ShardInfo, SplitInfo
from preprocessing.errors import UserError
from tests.preprocessing import pictures


def info_of(data: bytes) -> DatasetInfo:
    shard = ShardInfo("train-00000-of-00001.tfrecord", 1, len(data), "00000000")
    return DatasetInfo(("cat",), {"train": SplitInfo((shard,), (1,))}, RowCounts(1, 1, 0))


def make_dataset(target: pathlib.Path, data: bytes = b"records") -> DatasetInfo:
    info = info_of(data)
    with output.staging(str(target)) as folder:
        pathlib.Path(folder, "train-00000-of-00001.tfrecord").write_bytes(data)
        pathlib.Path(folder, schema.QUARANTINE_FILE).touch()
        pathlib.Path(folder, "left by a step").touch()
        output.publish(folder, str(target), info)
    return info


def test_a_published_folder_holds_the_dataset_and_nothing_else(tmp_path):
    info = make_dataset(tmp_path / "new" / "dataset")
    assert sorted(os.listdir(tmp_path / "new")) == ["dataset"]
    assert sorted(os.listdir(tmp_path / "new" / "dataset")) == [
        "dataset.json",
        "quarantine.jsonl",
        "train-00000-of-00001.tfrecord",
    ]
    assert output.existing_dataset(str(tmp_path / "new" / "dataset")) == info
    assert output.is_complete(str(tmp_path / "new" / "dataset"), info)


def test_a_published_folder_can_be_read_by_others(tmp_path):
    make_dataset(tmp_path / "dataset")
    mask = os.umask(0)
    os.umask(mask)
    assert (tmp_path / "dataset").stat().st_mode & 0o777 == 0o777 & ~mask


def test_a_dataset_is_replaced(tmp_path):
    make_dataset(tmp_path / "dataset")
    make_dataset(tmp_path / "dataset", b"other records")
    assert (tmp_path / "dataset" / "train-00000-of-00001.tfrecord").read_bytes() == b"other records"
    assert os.listdir(tmp_path) == ["dataset"]


def test_an_empty_folder_is_filled(tmp_path):
    (tmp_path / "dataset").mkdir()
    assert output.existing_dataset(str(tmp_path / "dataset")) is None
    make_dataset(tmp_path / "dataset")


def test_nothing_is_left_of_a_failure(tmp_path):
    with pytest.raises(RuntimeError), output.staging(str(tmp_path / "dataset")):
        raise RuntimeError
    assert os.listdir(tmp_path) == []


def test_what_killed_jobs_left_is_removed_and_neighbours_stay(tmp_path):
    for name in (".dataset.converting-abc", ".dataset.replaced-def", ".dataset2.converting-ghi", "dataset.bak"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").touch()
    make_dataset(tmp_path / "dataset")
    assert sorted(os.listdir(tmp_path)) == [".dataset2.converting-ghi", "dataset", "dataset.bak"]


def test_a_second_job_to_the_same_output_is_refused(tmp_path):
    with output.staging(str(tmp_path / "dataset")):
        with pytest.raises(UserError, match="another conversion"), output.staging(str(tmp_path / "dataset")):
            pass
        with output.staging(str(tmp_path / "elsewhere")):
            pass


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_what_is_no_dataset_is_not_ours(tmp_path, kind):
    if kind == "file":
        (tmp_path / "dataset").write_text("precious")
    else:
        (tmp_path / "dataset").mkdir()
        (tmp_path / "dataset" / "precious").touch()
    with pytest.raises(UserError, match="not a dataset"):
        output.existing_dataset(str(tmp_path / "dataset"))


def test_a_place_that_cannot_be_written(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="cannot be written"), output.staging(str(tmp_path / "file" / "dataset")):
        pass


@pytest.mark.slow
@pytest.mark.parametrize("delay_secs", [0.0, 0.3, 0.6, 0.9, 1.2])
def test_after_kill_9_the_output_is_absent_or_complete_and_the_same_command_finishes(tmp_path, delay_secs):
    pictures.write_class_folders(tmp_path / "photos", num_per_class=300)
    target = tmp_path / "out" / "dataset"
    command = [sys.executable, "-m", "preprocessing.task", str(tmp_path / "photos"), str(target)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        while process.poll() is None and not list((tmp_path / "out").glob(".dataset.converting-*")):
            time.sleep(0.01)
        time.sleep(delay_secs)
        process.send_signal(signal.SIGKILL)
    if target.exists():
        assert output.is_complete(str(target), output.existing_dataset(str(target)))
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    assert output.existing_dataset(str(target)).counts.written == 600
    assert os.listdir(tmp_path / "out") == ["dataset"]


@pytest.fixture
def temporary():
    """A place for temporary files whose name is short enough for that of a socket."""
    with tempfile.TemporaryDirectory() as folder:
        yield folder


@pytest.mark.slow
@pytest.mark.parametrize("flags", [[], ["--num_workers=2"]], ids=["one", "two"])
@pytest.mark.parametrize("delay_secs", [0.0, 0.3, 2.0])
def test_ctrl_c_leaves_nothing_and_no_trace(tmp_path, temporary, delay_secs, flags):
    pictures.write_class_folders(tmp_path / "photos", num_per_class=1_000)
    target = tmp_path / "out" / "dataset"
    # The job waits at its last step: however late Ctrl-C comes, it comes before the end.
    program = "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler);"
    program += "from preprocessing import command_line, output, task; output.publish = lambda *_: signal.pause();"
    program += "sys.exit(command_line.run(task.main, 'convert'))"
    command = [sys.executable, "-c", program, str(tmp_path / "photos"), str(target), *flags]
    environment = os.environ | {"TMPDIR": temporary}
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    ) as process:
        while process.poll() is None and not list((tmp_path / "out").glob(".dataset.converting-*")):
            time.sleep(0.01)
        time.sleep(delay_secs)
        process.send_signal(signal.SIGINT)
        try:
            _, errors = process.communicate(timeout=120)
        finally:
            process.kill()
    # A slow machine gets to see how far the job is.
    lines = [line for line in errors.splitlines() if not line.startswith(("checked ", "written "))]
    assert (process.returncode, lines) == (130, ["convert: interrupted"])
    assert os.listdir(tmp_path / "out") == []
    assert os.listdir(temporary) == []
