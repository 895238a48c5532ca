"""Whole programs of yesterday, run as they are."""

import gzip
import json
import pathlib
import sys

import numpy as np
import pytest
import tensorflow as tf
from absl import flags

import preprocessing
from tests.trainer.estimator.programs import events
from trainer.estimator.legacy import program

PROGRAMS = pathlib.Path(__file__).parent / "programs"


def run(name, model_dir, *arguments):
    status = program.run(str(PROGRAMS / name), [f"--model_dir={model_dir}", *arguments])
    assert status == 0
    return json.loads((model_dir / "result.json").read_text())


@pytest.mark.parametrize(
    "engine", [[], pytest.param(["--use_tpu", "--tpu=mock:8"], marks=pytest.mark.slow)], ids=["tf", "mock:8"]
)
def test_a_tensorflow_1_program_trains_evaluates_predicts_and_exports(tmp_path, engine):
    result = run("classifier.py", tmp_path, "--hparams=units=16,widths=[3,4],fast=true", *engine)
    assert result["step"] == 4
    # The input reads two shards in turn, one of each class.
    assert result["accuracy"] == pytest.approx(np.mean(np.array(result["classes"]) == np.arange(16) % 2))
    assert result["hparams"] == {"units": 16, "weight_decay": 1e-4, "seed": 1, "widths": [3, 4], "fast": True}
    assert set(events(tmp_path / "host_call")["loss_on_host"]) == {1, 2, 3, 4}
    names = {name for name, _ in tf.train.list_variables(str(tmp_path))}
    assert {"LayerNorm/gamma", "dense/kernel", "dense/kernel/Momentum", "batch_normalization/moving_mean"} <= names
    serve = tf.saved_model.load(result["exported"]).signatures["classify"]
    assert serve(pixels=tf.zeros([3, 4, 4, 1]))["logits"].shape == [3, 2]


@pytest.mark.slow
@pytest.mark.parametrize("engine", [[], ["--use_tpu", "--tpu=mock:2"]], ids=["tf", "mock:2"])
def test_a_late_tensorflow_1_program_runs_with_its_own_layers_and_optimizer_and_converts_for_tflite(tmp_path, engine):
    result = run("late.py", tmp_path, *engine)
    assert result["metrics"]["global_step"] == 4
    assert 0 <= result["metrics"]["top_1"] <= result["metrics"]["top_5"] <= 1
    assert set(events(tmp_path / "host_call")["learning_rate"]) == {1, 2, 3, 4}
    # Evaluation takes the averages, an export the weights themselves.
    name = "network/dense_1/kernel"
    weights = tf.train.load_variable(str(tmp_path), name)
    assert np.abs(weights - tf.train.load_variable(str(tmp_path), f"{name}/ExponentialMovingAverage")).max() > 0
    np.testing.assert_array_equal(tf.train.load_variable(f"{result['exported']}/variables/variables", name), weights)
    encoded = tf.io.encode_jpeg(tf.zeros([9, 7, 3], tf.uint8))[tf.newaxis]
    found = tf.saved_model.load(result["exported"]).signatures["classify"](image_bytes=encoded)
    assert found["probabilities"].shape == [1, 8]
    assert min(result["lite_sizes"]) > 1000


def test_a_tensorflow_2_program_gets_keras_2_and_its_paths_into_the_estimator(tmp_path):
    assert run("regression.py", tmp_path) == {
        "step": 8,
        "mean_label": pytest.approx(0.5),
        "is_keras_2": True,
        "executes_eagerly": True,
        "has_two_versions": True,
        "one_estimator": True,
    }


def test_what_was_there_before_is_there_afterwards(tmp_path):
    def state():
        legacy = [name for name in sys.modules if name.startswith(("tensorflow.contrib", "tensorflow_estimator"))]
        lists = [list(values) for values in (sys.argv, sys.path, sys.meta_path)]
        return legacy, *lists, sys.modules["__main__"], sorted(flags.FLAGS), dir(tf)

    before = state()
    run("classifier.py", tmp_path, "--train_steps=1")
    assert state() == before
    assert before[0] == []
    assert sys.modules["preprocessing"] is preprocessing
    assert "network" not in sys.modules
    assert tf.executing_eagerly()
    assert tf.zeros([2]).shape[0] == 2
    assert not hasattr(tf.zeros([2]).shape[0], "value")


@pytest.mark.slow
def test_a_program_that_is_a_package_trains_evaluates_and_exports(tmp_path):
    write_digits(tmp_path / "data")
    result = run("digits/task.py", tmp_path / "run", f"--data_dir={tmp_path / 'data'}", "--learning_rate=0.01")
    assert result["examples"] == [24, 8, 16]
    assert result["is_one_module"]
    assert result["global_step"] == 4
    assert -1 <= result["correlation"] <= 1
    written = events(tmp_path / "run")
    assert written["OptimizeLoss/loss"].keys() == {1, 2, 3, 4}
    assert written["OptimizeLoss/global_norm/gradient_norm"][1] > 0
    assert set(events(tmp_path / "run" / "confidence")["confidence"]) == {0, 2}
    names = {name for name, _ in tf.train.list_variables(str(tmp_path / "run"))}
    assert {"OptimizeLoss/learning_rate", "OptimizeLoss/dense/kernel/Adam", "rnn/gru_cell/gates/kernel"} <= names
    (exported,) = (tmp_path / "run" / "export" / "digits").iterdir()
    serve = tf.saved_model.load(str(exported)).signatures["probabilities"]
    assert serve(image=tf.zeros([3, 28, 28]))["probabilities"].shape == [3, 10]


def write_digits(directory):
    directory.mkdir()
    generator = np.random.default_rng(0)
    for part, count in (("train", 32), ("t10k", 16)):
        images = np.array([2051, count, 28, 28], ">i4").tobytes() + generator.bytes(count * 28 * 28)
        labels = np.array([2049, count], ">i4").tobytes() + bytes(index % 10 for index in range(count))
        (directory / f"{part}-images-idx3-ubyte.gz").write_bytes(gzip.compress(images))
        (directory / f"{part}-labels-idx1-ubyte.gz").write_bytes(gzip.compress(labels))
