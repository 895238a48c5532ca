"""Whole programs of yesterday, run as they are."""

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
