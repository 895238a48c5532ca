import json
import pathlib
import re
import subprocess
import sys
import tempfile

import pytest

from preprocessing import task
from preprocessing.errors import UserError
from tests.preprocessing import pictures


@pytest.fixture
def photos(tmp_path):
    pictures.write_class_folders(tmp_path / "photos", num_per_class=3)
    return tmp_path / "photos"


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "preprocessing.task", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_the_program_prints_a_summary_and_writes_it(photos, tmp_path):
    finished = run(photos, tmp_path / "dataset", f"--summary_file={tmp_path / 'summary.json'}")
    assert finished.returncode == 0, finished.stderr
    assert "6 rows = 6 written + 0 quarantined + 0 dropped" in finished.stdout
    assert str(tmp_path / "dataset") in finished.stdout
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert (summary["rows_in"], summary["written"]) == (6, 6)
    assert summary["images_per_sec"] > 0


def test_a_mistake_is_one_line_and_status_2(photos, tmp_path):
    finished = run(photos / "nowhere", tmp_path / "dataset")
    assert finished.returncode == 2
    assert finished.stderr.splitlines() == [f"tpu-images convert: {photos / 'nowhere'}: no such file or folder"]


def test_debug_shows_the_trace(photos, tmp_path):
    finished = run(photos / "nowhere", tmp_path / "dataset", "--debug")
    assert "Traceback" in finished.stderr


def test_help_does_not_load_beam():
    program = "import sys; from preprocessing import task; print('apache_beam' in sys.modules)"
    finished = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert finished.stdout.strip() == "False"


def write(path: pathlib.Path, text: str) -> pathlib.Path:
    path.write_text(text)
    return path


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--splt=train:1.0"], "--splt=train:1.0: no such flag; did you mean --split?"),
        (["--split=train:0.8,tset:0.2"], "no split called 'tset'; did you mean test?"),
        (["--split=train:0.8"], "add up to 0.8"),
        (["--split="], "--split: '' has no fraction"),
        (["--max_bad_fraction=7"], "--max_bad_fraction: must lie between 0 and 1"),
        (["--max_bad_fraction=some"], "invalid float value"),
        (["--quality=0"], "--quality: must lie between 1 and 100"),
        (["--num_shards=-1"], "--num_shards"),
        (["--formats=JPEG,PNGG"], "did you mean PNG?"),
        (["--verify=never"], "invalid choice"),
        (["--labels=/nowhere/labels.txt"], "/nowhere/labels.txt: cannot be read"),
        (["--runner=DirectRuner"], "--runner: no runner called 'DirectRuner'; did you mean DirectRunner?"),
        (["--num_workers=0"], "--num_workers: must be at least 1"),
        (["--max_megabytes=nan"], "--max_megabytes: nan is not a finite number"),
        (["--max_megabytes=ten"], "--max_megabytes: ten is not a finite number"),
        (["--max_megapixels=inf"], "--max_megapixels: inf is not a finite number"),
        (["--summary_file=/nowhere/summary.json"], "/nowhere/summary.json: there is no folder /nowhere"),
        (["--summary_file=/"], "/: is a folder; name a file"),
        (["extra"], "extra: no such flag"),
    ],
)
def test_mistakes_in_the_flags(photos, tmp_path, flags, message):
    with pytest.raises(UserError) as caught:
        task.main([str(photos), str(tmp_path / "dataset"), *flags])
    assert message in str(caught.value)
    assert not (tmp_path / "dataset").exists()


def test_flags_of_beam_pass_through(photos, tmp_path):
    assert (
        task.main([str(photos), str(tmp_path / "dataset"), "--direct_running_mode=in_memory", "--job_name=mine"]) == 0
    )


def test_label_outside_the_list(photos, tmp_path):
    labels = write(tmp_path / "labels.txt", "cat\nbird\n")
    with pytest.raises(UserError, match="label 'dog' is not in --labels; the labels are cat, bird"):
        task.main([str(photos), str(tmp_path / "dataset"), f"--labels={labels}"])


def test_split_fractions_for_input_with_split_folders(photos, tmp_path):
    photos.rename(tmp_path / "train")
    (tmp_path / "all").mkdir()
    (tmp_path / "train").rename(tmp_path / "all" / "train")
    with pytest.raises(UserError, match="--split: the folders already say"):
        task.main([str(tmp_path / "all"), str(tmp_path / "dataset"), "--split=train:1.0"])


def test_a_kind_of_place_that_there_is_not(photos, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match="s3://bucket/dataset: no such kind of place; local or gs://"):
        task.main([str(photos), "s3://bucket/dataset"])
    assert list(tmp_path.iterdir()) == [photos]


def test_the_output_is_no_class_of_the_input(photos, monkeypatch):
    monkeypatch.chdir(photos)
    with pytest.raises(UserError, match="dataset: lies in INPUT, whose folders are classes"):
        task.main([".", "dataset"])
    assert not (photos / "dataset").exists()


def test_dataflow_needs_places_that_it_can_reach(photos, tmp_path):
    with pytest.raises(UserError, match="the workers of Dataflow cannot reach INPUT"):
        task.main([str(photos), str(tmp_path / "dataset"), "--runner=DataflowRunner"])


DATAFLOW = [
    "--runner=DataflowRunner",
    "--project=my-project",
    "--region=us-central1",
    "--temp_location=gs://bucket/temp",
]


@pytest.mark.slow
def test_a_dry_run_shows_the_job_needs_no_credentials_and_leaves_nothing(capsys, tmp_path, monkeypatch):
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    monkeypatch.chdir(tmp_path)
    assert task.main(["gs://bucket/photos", "gs://bucket/dataset", *DATAFLOW, "--num_workers=3", "--dry_run"]) == 0
    shown = capsys.readouterr().out
    assert "projects/my-project/locations/us-central1/jobs" in shown
    assert "# cost: about $" in shown
    assert list(tmp_path.rglob("*")) == [tmp_path / "temporary"]


def test_a_dry_run_of_another_runner_shows_nothing(photos, tmp_path):
    with pytest.raises(UserError, match="add --runner=DataflowRunner"):
        task.main([str(photos), str(tmp_path / "dataset"), "--dry_run"])


# With files of at most so many bytes, shards fail, or the last lists, or the report.
@pytest.mark.parametrize(
    ("most_bytes", "flags"),
    [
        (4_000, []),
        pytest.param(20_000, ["--num_shards=40"], marks=pytest.mark.slow),
        pytest.param(20_000, ["--num_shards=40", "--curate"], marks=pytest.mark.slow),
        pytest.param(4_000, ["--num_workers=2"], marks=pytest.mark.slow),
    ],
    ids=["shards", "list", "report", "shards of two processes"],
)
def test_a_full_disk_is_one_line_and_nothing_is_left(photos, tmp_path, most_bytes, flags):
    if "--curate" not in flags:
        for number in range(200):
            (photos / "cat" / f"damaged_{number}.jpg").write_bytes(b"\xff\xd8\xff")
    program = f"import resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, ({most_bytes}, {most_bytes}));"
    program += "from preprocessing import command_line, task; sys.exit(command_line.run(task.main, 'convert'))"
    target = tmp_path / "out" / "dataset"
    command = [sys.executable, "-c", program, str(photos), str(target), "--max_bad_fraction=1", *flags]
    finished = subprocess.run(command, capture_output=True, text=True, check=False)
    assert finished.returncode == 2
    # A slow machine gets to see how far the job is.
    lines = [line for line in finished.stderr.splitlines() if not line.startswith(("checked ", "written "))]
    if "--num_workers=2" in flags:  # the processes say so too
        assert re.fullmatch(rf"convert: {target}: cannot be written \(.*File too large.*\)", lines[-1])
    else:
        assert lines == [f"convert: {target}: cannot be written (File too large)"]
    assert list((tmp_path / "out").iterdir()) == []


def test_no_room_for_temporary_files_is_one_line(photos, tmp_path):
    program = "import resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0));"
    program += "from preprocessing import command_line, task; sys.exit(command_line.run(task.main, 'convert'))"
    command = [sys.executable, "-c", program, str(photos), str(tmp_path / "dataset")]
    finished = subprocess.run(command, capture_output=True, text=True, check=False)
    assert finished.returncode == 2
    (line,) = finished.stderr.splitlines()
    assert line.startswith("convert: temporary files cannot be written (No usable temporary directory found in [")
    assert line.endswith("; make room there, or name another folder in TMPDIR")
    assert not (tmp_path / "dataset").exists()
