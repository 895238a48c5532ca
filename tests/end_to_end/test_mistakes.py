"""What a user can get wrong: one clear line, exit status 2, and nothing is written or lost."""

import json
import logging
import pathlib
import subprocess
import sys

import pytest
import tensorflow as tf

from tests.end_to_end.test_main_job import SETTINGS, write_digits
from trainer import experiment, task
from trainer.commands.sole_training import alone_in
from trainer.config import ExperimentConfig
from trainer.data import records
from trainer.errors import UserError

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    root = tmp_path_factory.mktemp("mistakes")
    write_digits(root / "digits", num_images=60)
    assert task.main(["convert", str(root / "digits"), str(root / "dataset")]) == 0
    return root / "dataset"


def mistake(capsys, *words) -> str:
    capsys.readouterr()
    assert task.main([str(word) for word in words]) == 2
    shown = capsys.readouterr().err
    assert shown.count("\n") == 1, shown
    assert "Traceback" not in shown
    return shown


def copied(dataset: pathlib.Path, target: pathlib.Path) -> pathlib.Path:
    target.mkdir()
    for path in dataset.iterdir():
        (target / path.name).write_bytes(path.read_bytes())
    return target


def test_missing_input(capsys, tmp_path):
    shown = mistake(capsys, "convert", tmp_path / "nowhere", tmp_path / "out")
    assert "nowhere" in shown
    assert list(tmp_path.iterdir()) == []


def test_two_trainings_in_one_model_dir(dataset, capsys, tmp_path):
    model_dir = tmp_path / "model"
    logger_before = vars(logging.getLogger("absl")).copy()
    with alone_in(str(model_dir)):
        shown = mistake(capsys, "train", dataset, f"--model_dir={model_dir}", *SETTINGS)
    assert vars(logging.getLogger("absl")) == logger_before
    assert "another training is at work here; wait for its end, or give another --model_dir" in shown
    assert not model_dir.exists()


def test_empty_class(capsys, tmp_path):
    write_digits(tmp_path / "digits", num_images=20)
    (tmp_path / "digits" / "empty").mkdir()
    assert "empty" in mistake(capsys, "convert", tmp_path / "digits", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_label_outside_the_list(capsys, tmp_path):
    write_digits(tmp_path / "digits", num_images=20)
    (tmp_path / "labels.txt").write_text("0\n1\n")
    labels = f"--labels={tmp_path / 'labels.txt'}"
    assert "7" in mistake(capsys, "convert", tmp_path / "digits", tmp_path / "out", labels)
    assert not (tmp_path / "out").exists()


def test_unknown_split(capsys, dataset, tmp_path):
    words = ["train", dataset, f"--model_dir={tmp_path / 'model'}", *SETTINGS, "--eval_split=holdout"]
    assert "no split called 'holdout'; splits in this dataset: test, train, validation" in mistake(capsys, *words)
    assert not (tmp_path / "model").exists()


def test_misspelt_setting(capsys, dataset, tmp_path):
    words = ["train", dataset, f"--model_dir={tmp_path / 'model'}", "--train_epoch=3"]
    assert "did you mean --train_epochs?" in mistake(capsys, *words)
    assert not (tmp_path / "model").exists()


def test_dataset_without_its_description(capsys, dataset, tmp_path):
    copy = copied(dataset, tmp_path / "dataset")
    (copy / "dataset.json").unlink()
    words = ["train", copy, f"--model_dir={tmp_path / 'model'}", *SETTINGS]
    assert "dataset.json" in mistake(capsys, *words)
    assert not (tmp_path / "model").exists()


@pytest.mark.parametrize("damage", ["cut", "flipped", "missing", "longer"])
def test_damaged_shard(capsys, dataset, tmp_path, damage):
    copy = copied(dataset, tmp_path / "dataset")
    name = json.loads((copy / "dataset.json").read_text())["splits"]["train"]["shards"][0]["name"]
    content = bytearray((copy / name).read_bytes())
    content[len(content) // 2] ^= 1
    damaged = {
        "cut": lambda: (copy / name).write_bytes(bytes(content[:-10])),
        "flipped": lambda: (copy / name).write_bytes(bytes(content)),
        "missing": (copy / name).unlink,
        "longer": lambda: (copy / name).write_bytes(bytes(content) + b"x"),
    }
    damaged[damage]()
    shown = mistake(capsys, "train", copy, f"--model_dir={tmp_path / 'model'}", *SETTINGS)
    assert name in shown
    assert not (tmp_path / "model").exists()


def test_a_batch_larger_than_the_data(capsys, dataset, tmp_path):
    words = ["train", dataset, f"--model_dir={tmp_path / 'model'}", *SETTINGS, "--global_batch_size=1000"]
    assert "fewer than one batch" in mistake(capsys, *words)


def test_a_full_disk(dataset, tmp_path):
    def fill(step, metrics):
        raise tf.errors.ResourceExhaustedError(None, None, "model.ckpt-1.tempstate; No space left on device")

    opened = records.open_dataset(str(dataset))
    config = ExperimentConfig().replace(network="resnet8", image_size=8, global_batch_size=16, train_epochs=1.0)
    planned = experiment.plan(opened, str(tmp_path / "model"), config)
    with pytest.raises(UserError, match="model: the disk is full; make room, and run the same command again"):
        experiment.train_and_evaluate(planned, opened, on_evaluation=fill)


def test_a_limit_of_the_process_is_told_as_a_full_disk(dataset, tmp_path):
    words = ["train", str(dataset), f"--model_dir={tmp_path / 'model'}", *SETTINGS, "--train_epochs=1"]
    program = "import resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000));"
    program += "from trainer import task; sys.exit(task.main())"
    finished = subprocess.run([sys.executable, "-c", program, *words], capture_output=True, text=True, check=False)
    assert finished.returncode == 2
    assert "model: the disk is full; make room" in finished.stderr.splitlines()[-1]
    assert "Traceback" not in finished.stderr


def test_a_model_that_is_not_there(capsys, tmp_path):
    assert "train one first" in mistake(capsys, "evaluate", f"--model_dir={tmp_path / 'model'}")
    assert "train one first" in mistake(capsys, "export", f"--model_dir={tmp_path / 'model'}")
    assert "no export here" in mistake(capsys, "predict", "x.png", f"--export_dir={tmp_path / 'model'}")
    assert not (tmp_path / "model").exists()
