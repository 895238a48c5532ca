"""The main job through its commands, on real digits: convert, train, resume, evaluate, export, predict."""

import contextlib
import csv
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image
from sklearn import datasets

from trainer import task
from trainer.export.serving import ExportedClassifier

pytestmark = pytest.mark.slow

QUICK = ("--network=resnet8", "--precision=float32", "--image_size=8", "--crop=center", "--eval_crop_fraction=1")
SETTINGS = (*QUICK, "--horizontal_flip=false", "--global_batch_size=16", "--top_k=2", "--warmup_epochs=0.5")


def write_digits(folder: pathlib.Path, num_images: int, classes: tuple[int, ...] = (0, 1, 7)) -> None:
    digits = datasets.load_digits()
    chosen = [index for index, label in enumerate(digits.target) if label in classes][:num_images]
    for index in chosen:
        class_folder = folder / str(digits.target[index])
        class_folder.mkdir(parents=True, exist_ok=True)
        pixels = np.round(digits.images[index] * (255 / 16)).astype(np.uint8)
        Image.fromarray(pixels).save(class_folder / f"{index:04d}.png")


def run(*words) -> int:
    return task.main([str(word) for word in words])


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pictures") / "digits"
    write_digits(folder, num_images=400)
    return folder


@pytest.fixture(scope="module")
def dataset(images, tmp_path_factory):
    path = tmp_path_factory.mktemp("converted") / "dataset"
    summary_file = f"--summary_file={path / 'summary.json'}"
    assert run("convert", images, path, "--split=train:0.6,validation:0.2,test:0.2", summary_file) == 0
    assert (path / "summary.json").is_file()
    return path


@pytest.fixture(scope="module")
def model_dir(dataset, tmp_path_factory):
    path = tmp_path_factory.mktemp("trained") / "model"
    words = [f"--model_dir={path}", *SETTINGS, "--train_epochs=6", "--epochs_per_eval=3"]
    assert run("train", dataset, *words, f"--summary_file={path / 'summary.json'}") == 0
    assert json.loads((path / "summary.json").read_text())["model_dir"] == str(path)
    return path


@pytest.fixture(scope="module")
def export_dir(model_dir):
    summary_file = model_dir / "export.json"
    assert run("export", f"--model_dir={model_dir}", f"--summary_file={summary_file}") == 0
    return pathlib.Path(json.loads(summary_file.read_text())["export_dir"])


def test_every_row_is_accounted_for(dataset):
    info = json.loads((dataset / "dataset.json").read_text())
    assert info["counts"] == {"rows_in": 400, "written": 400, "quarantined": 0, "dropped": 0}


def test_training_learns_and_leaves_what_the_readme_promises(model_dir, dataset, tmp_path):
    summary_file = tmp_path / "evaluation.json"
    assert run("evaluate", f"--model_dir={model_dir}", "--split=test", f"--summary_file={summary_file}") == 0
    assert json.loads(summary_file.read_text())["accuracy"] > 0.9
    assert json.loads((model_dir / "config.json").read_text())["config"]["loop"]["train_epochs"] == 6
    assert list(model_dir.glob("events.out.tfevents.*"))
    measured = json.loads((model_dir / "eval_test" / "metrics.json").read_text())
    num_test = json.loads((dataset / "dataset.json").read_text())["splits"]["test"]["num_examples"]
    assert sum(map(sum, measured["confusion_matrix"])) == num_test


def test_a_place_that_cannot_hold_an_evaluation_is_told_before_the_work(model_dir, tmp_path, capsys):
    copy = tmp_path / "model"
    shutil.copytree(model_dir, copy, ignore=shutil.ignore_patterns("eval_test"))
    (copy / "eval_test").write_text("somebody's")
    capsys.readouterr()
    assert run("evaluate", f"--model_dir={copy}", "--split=test") == 2
    assert capsys.readouterr().err.endswith("eval_test is not a folder; name another folder\n")


def test_evaluation_does_not_depend_on_the_batch_size(model_dir, dataset, tmp_path):
    from trainer import experiment as experiments

    measured = []
    for batch_size in (7, 64):
        loaded = experiments.load(str(model_dir))
        config = loaded.config.replace(eval_global_batch_size=batch_size)
        record = experiments.dataclasses.replace(loaded.record, config=config)
        experiment = experiments.Experiment(str(model_dir), record)
        measured.append(experiments.evaluate(experiment, experiments.open_dataset_of(experiment), "test"))
    assert measured[0]["top_1_accuracy"] == measured[1]["top_1_accuracy"]
    np.testing.assert_array_equal(measured[0]["confusion_matrix"], measured[1]["confusion_matrix"])
    np.testing.assert_allclose(measured[0]["mean_loss"], measured[1]["mean_loss"], rtol=1e-5)


def test_export_answers_as_the_checkpoint_does(export_dir, model_dir, images, tmp_path):
    files = sorted(images.glob("*/*.png"))[:40]
    for source, name in ((f"--export_dir={export_dir.parent}", "export"), (f"--model_dir={model_dir}", "model")):
        assert run("predict", *files, source, f"--output={tmp_path / name}.jsonl") == 0
    rows = [
        [json.loads(line) for line in (tmp_path / f"{name}.jsonl").read_text().splitlines()]
        for name in ("export", "model")
    ]
    assert [row["class"] for row in rows[0]] == [row["class"] for row in rows[1]]
    np.testing.assert_allclose(*[[row["probability"] for row in column] for column in rows], atol=1e-5)
    assert sum(row["class"] == pathlib.Path(row["path"]).parent.name for row in rows[0]) > 30


@pytest.mark.parametrize("suffix", ["index", "data-00000-of-00001"])
def test_a_damaged_newest_checkpoint_is_left_aside_by_every_command(model_dir, images, tmp_path, suffix):
    copy = tmp_path / "model"
    shutil.copytree(model_dir, copy)
    *_, before, newest = checkpoint_steps(copy)
    path = copy / f"model.ckpt-{newest}.{suffix}"
    path.write_bytes(path.read_bytes()[:100])
    assert run("predict", next(images.glob("*/*.png")), f"--model_dir={copy}") == 0
    assert run("evaluate", f"--model_dir={copy}", f"--summary_file={tmp_path / 'evaluation.json'}") == 0
    assert json.loads((tmp_path / "evaluation.json").read_text())["global_step"] == before
    assert run("export", f"--model_dir={copy}", f"--export_dir={tmp_path / 'export'}") == 0
    (description,) = (tmp_path / "export").glob("*/assets.extra/description.json")
    assert json.loads(description.read_text())["checkpoint"] == f"model.ckpt-{before}"
    dataset = json.loads((copy / "config.json").read_text())["dataset"]
    words = ["train", dataset, f"--model_dir={copy}", *SETTINGS, "--train_epochs=6", "--epochs_per_eval=3"]
    assert run(*words) == 0
    tf.train.load_variable(str(copy / f"model.ckpt-{newest}"), "global_step")


def test_export_takes_any_size_and_common_formats(export_dir, tmp_path):
    classify = ExportedClassifier(str(export_dir))
    files = []
    for name, size in (("a.jpg", (300, 200)), ("b.png", (1, 1)), ("c.bmp", (9, 40)), ("d.gif", (64, 64))):
        Image.new("RGB", size, (200, 10, 10)).save(tmp_path / name)
        files.append((tmp_path / name).read_bytes())
    answers = classify(files)
    assert answers["probabilities"].shape == (4, 3)
    np.testing.assert_allclose(answers["probabilities"].sum(axis=1), 1, atol=1e-5)


def test_one_bad_image_is_one_bad_row(export_dir, images, tmp_path):
    bad = tmp_path / "=bad.png"
    bad.write_bytes(b"not an image")
    good = next(images.glob("*/*.png"))
    output = tmp_path / "predictions.csv"
    assert run("predict", good, bad, tmp_path / "missing.png", f"--export_dir={export_dir}", f"--output={output}") == 1
    rows = list(csv.DictReader(output.open()))
    assert [row["error"] for row in rows] == ["", "not an image that can be decoded", "no such file"]


def test_the_same_command_again_goes_on_and_another_configuration_is_refused(dataset, tmp_path, capsys):
    model_dir = tmp_path / "model"
    command = ["train", dataset, f"--model_dir={model_dir}", *SETTINGS]
    assert run(*command, "--train_epochs=1") == 0
    first_checkpoints = set(model_dir.glob("model.ckpt-*.index"))
    assert run(*command, "--train_epochs=2") == 0
    assert set(model_dir.glob("model.ckpt-*.index")) > first_checkpoints
    before = {path: path.read_bytes() for path in model_dir.glob("*") if path.is_file()}
    capsys.readouterr()
    assert run(*command, "--train_epochs=2", "--weight_decay=0.5") == 2
    error = capsys.readouterr().err.strip()
    assert "weight_decay=0.0001 (now 0.5)" in error
    assert "\n" not in error
    assert {path: path.read_bytes() for path in model_dir.glob("*") if path.is_file()} == before


def test_fewer_epochs_than_were_trained_are_not_claimed(model_dir, dataset, tmp_path, capsys):
    copy = tmp_path / "model"
    shutil.copytree(model_dir, copy)
    newest = checkpoint_steps(copy)[-1]
    summary_file = tmp_path / "summary.json"
    assert (
        run("train", dataset, f"--model_dir={copy}", *SETTINGS, "--train_epochs=1", f"--summary_file={summary_file}")
        == 0
    )
    assert json.loads(summary_file.read_text())["steps"] == newest
    shown = capsys.readouterr()
    assert f"nothing to train: step {newest} was reached before; --train_epochs=1 ends earlier" in shown.out
    assert f", step {newest}: accuracy" in shown.err


def checkpoint_steps(model_dir: pathlib.Path) -> list[int]:
    return sorted(int(path.stem.split("-")[1]) for path in model_dir.glob("model.ckpt-*.index"))


@pytest.mark.parametrize(("sent", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGKILL, -9)])
def test_an_interrupted_training_goes_on_from_its_checkpoint(dataset, tmp_path, sent, status):
    model_dir = tmp_path / "model"
    words = ["train", str(dataset), f"--model_dir={model_dir}", *SETTINGS, "--save_checkpoints_secs=1"]
    words += ["--epochs_per_eval=0", "--log_every_steps=5"]
    command = [sys.executable, "-m", "trainer.task", *words, "--train_epochs=400"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    deadline_secs = time.monotonic() + 240
    while not any(step > 0 for step in checkpoint_steps(model_dir)) and time.monotonic() < deadline_secs:
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.1)
    process.send_signal(sent)
    _, shown = process.communicate(timeout=120)
    assert process.returncode == status, shown
    assert "Traceback" not in shown
    reached = checkpoint_steps(model_dir)[-1]
    assert 0 < reached < 400 * 15
    num_epochs = reached // 15 + 2
    assert run(*words, f"--train_epochs={num_epochs}") == 0
    assert checkpoint_steps(model_dir)[-1] > reached


def test_six_replicas_train_and_export(dataset, tmp_path):
    words = [f"--model_dir={tmp_path / 'model'}", *SETTINGS, "--tpu=mock:6", "--global_batch_size=12"]
    assert run("train", dataset, *words, "--eval_global_batch_size=12", "--train_epochs=0.1") == 0
    assert run("export", f"--model_dir={tmp_path / 'model'}") == 0


def test_on_a_terminal_messages_have_a_line_of_their_own(dataset, tmp_path):
    words = ["train", str(dataset), f"--model_dir={tmp_path / 'model'}", *SETTINGS, "--log_every_steps=1"]
    terminal, its_end = os.openpty()
    command = [sys.executable, "-m", "trainer.task", *words, "--train_epochs=400"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=its_end) as process:
        os.close(its_end)
        shown, is_interrupted = b"", False
        with contextlib.suppress(OSError):  # how a terminal says that the program has ended
            while part := os.read(terminal, 4096):
                shown += part
                if b"loss" in shown and not is_interrupted:
                    process.send_signal(signal.SIGINT)
                    is_interrupted = True
    os.close(terminal)
    assert process.returncode == 130
    message = next(line for line in shown.split(b"\n") if b"SIGINT received" in line)
    assert b"loss" not in message


def test_a_killed_conversion_leaves_nothing_and_the_next_one_is_complete(images, tmp_path):
    output = tmp_path / "dataset"
    command = [sys.executable, "-m", "preprocessing.task", str(images), str(output)]
    for delay_secs in (1.0, 1.5, 2.0, 2.5):
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(delay_secs)
        process.kill()
        process.wait()
        assert not output.exists() or (output / "dataset.json").exists()
    assert run("convert", images, output) == 0
    assert json.loads((output / "dataset.json").read_text())["counts"]["written"] == 400
    assert [path.name for path in tmp_path.iterdir()] == ["dataset"]
