"""`TPUEstimator` on either engine, with a program of TensorFlow 1's time: same weights, metrics and predictions."""

import json
import os
import pathlib
import socket
import subprocess
import sys
import time

import numpy as np
import pytest
import tensorflow as tf

from trainer.errors import UserError
from trainer.estimator import ModeKeys, RunConfig, TPUConfig, TPUEstimator, TPUEstimatorSpec
from trainer.preflight.testing import assert_compiles_for_tpu

BATCH_SIZE = 32
GENERATOR = np.random.default_rng(0)
FEATURES = GENERATOR.normal(size=(128, 4)).astype(np.float32)
LABELS = FEATURES[:, :3].argmax(axis=1).astype(np.int32)

# The accelerator of each of two halves of a training; None is the tf engine.
PLANS = {
    "mock:8": ("mock:8", "mock:8"),
    "mock:8, then tf": ("mock:8", None),
    "tf, then mock:4": (None, "mock:4"),
}


def metric_fn(labels, logits):
    return {"accuracy": tf.compat.v1.metrics.accuracy(labels, tf.argmax(logits, axis=1))}


def model_fn(features, labels, mode, params):
    del params
    initializer = tf.compat.v1.truncated_normal_initializer(seed=3)
    logits = features @ tf.compat.v1.get_variable("kernel", [4, 3], initializer=initializer)
    if mode == ModeKeys.PREDICT:
        return TPUEstimatorSpec(mode, predictions={"logits": logits})
    loss = tf.compat.v1.losses.sparse_softmax_cross_entropy(labels, logits)
    if mode == ModeKeys.EVAL:
        return TPUEstimatorSpec(mode, loss=loss, eval_metrics=(metric_fn, [labels, logits]))
    optimizer = tf.compat.v1.tpu.CrossShardOptimizer(tf.compat.v1.train.MomentumOptimizer(0.1, 0.9))
    train_op = optimizer.minimize(loss, global_step=tf.compat.v1.train.get_global_step())
    return TPUEstimatorSpec(mode, loss=loss, train_op=train_op)


def train_input_fn(params):
    dataset = tf.data.Dataset.from_tensor_slices((FEATURES, LABELS)).repeat()
    return dataset.batch(params["batch_size"], drop_remainder=True)


def eval_input_fn(params):
    return tf.data.Dataset.from_tensor_slices((FEATURES, LABELS)).batch(params["batch_size"])


def estimator(model_dir, master):
    return TPUEstimator(
        model_fn=model_fn,
        config=RunConfig(model_dir=model_dir, master=master, tpu_config=TPUConfig(iterations_per_loop=5)),
        use_tpu=master is not None,
        train_batch_size=BATCH_SIZE,
        eval_batch_size=BATCH_SIZE,
        predict_batch_size=BATCH_SIZE,
        params={},
    )


def trained(model_dir, plan):
    for half, master in enumerate(plan, start=1):
        estimator(model_dir, master).train(train_input_fn, max_steps=10 * half)
    last = estimator(model_dir, plan[-1])
    metrics = last.evaluate(eval_input_fn, steps=len(LABELS) // BATCH_SIZE)
    logits = np.stack([prediction["logits"] for prediction in last.predict(eval_input_fn)])
    return last.get_variable_value("kernel"), metrics, logits


@pytest.mark.slow
@pytest.mark.parametrize("name", PLANS)
def test_trains_evaluates_and_predicts_as_the_tf_engine_does(name, tmp_path):
    kernel, metrics, logits = trained(str(tmp_path / "model"), PLANS[name])
    expected_kernel, expected_metrics, expected_logits = trained(str(tmp_path / "expected"), (None, None))
    np.testing.assert_allclose(kernel, expected_kernel, rtol=1e-5)
    np.testing.assert_allclose(logits, expected_logits, rtol=1e-4, atol=1e-5)
    assert metrics["global_step"] == expected_metrics["global_step"] == 20
    for metric in ("accuracy", "loss"):
        np.testing.assert_allclose(metrics[metric], expected_metrics[metric], rtol=1e-5)
    assert metrics["accuracy"] > 0.8


@pytest.mark.slow
def test_the_program_that_trains_on_mock_8_compiles_for_a_tpu_that_tensorflow_does_not_run_on(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    features, labels = tf.TensorSpec([None, 4]), tf.TensorSpec([None], tf.int32)
    compiled = assert_compiles_for_tpu(
        model_fn, features, labels, per_replica_batch_size=BATCH_SIZE // 8, tpu_type="v6e:2x2"
    )
    assert any(operation.opcode.startswith("all-reduce") for operation in compiled.traffic), "gradients are summed"


class SlowDisk(tf.compat.v1.train.CheckpointSaverListener):
    def before_save(self, session, global_step_value):
        time.sleep(1.0)


def shared_input_fn(params, input_context):
    """Each process's rows of every global batch."""
    dataset = train_input_fn({"batch_size": 2 * params["batch_size"]})
    rows = params["batch_size"]
    first = rows * input_context.input_pipeline_id
    return dataset.map(
        lambda *batch: tuple(tf.ensure_shape(t[first : first + rows], [rows, *t.shape[1:]]) for t in batch)
    )


def shared_eval_input_fn(params, input_context):
    return eval_input_fn(params).unbatch().shard(2, input_context.input_pipeline_id).batch(params["batch_size"])


def unevenly_shared_input_fn(params, input_context):
    return shared_eval_input_fn(params, input_context).unbatch().skip(1).batch(params["batch_size"])


def train_and_tell_as_one_of_two(model_dir, path):
    """What each process does; writes what it saw."""
    one = estimator(model_dir, "mock:4")
    one.train(shared_input_fn, max_steps=10, saving_listeners=[SlowDisk()])
    latest = os.path.basename(one.latest_checkpoint())
    metrics = {name: float(value) for name, value in one.evaluate(shared_eval_input_fn).items()}
    try:
        one.evaluate(unevenly_shared_input_fn)
        refusal = ""
    except UserError as error:
        refusal = str(error)
    with open(path, "w") as file:
        json.dump({"latest": latest, "metrics": metrics, "refusal": refusal}, file)


def start_process(path, model_dir, environment):
    code = (
        f"import sys; sys.path.insert(0, {os.path.dirname(__file__)!r})\n"
        "from trainer.engine import pjrt_devices; pjrt_devices.select('mock:4')\n"
        f"import test_pjrt_estimator as tests; tests.train_and_tell_as_one_of_two({model_dir!r}, {path!r})"
    )
    return subprocess.Popen([sys.executable, "-c", code], env=os.environ | environment)


@pytest.mark.slow
def test_two_processes_see_the_same_checkpoint_and_the_same_metrics(tmp_path):
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        address = f"localhost:{probe.getsockname()[1]}"
    shared = {"JAX_NUM_CPU_DEVICES": "4", "JAX_COORDINATOR_ADDRESS": address, "JAX_NUM_PROCESSES": "2"}
    paths = [str(tmp_path / str(index)) for index in (0, 1)]
    model_dir = str(tmp_path / "model")
    processes = [
        start_process(path, model_dir, shared | {"JAX_PROCESS_ID": str(index)}) for index, path in enumerate(paths)
    ]
    assert [process.wait(timeout=120) for process in processes] == [0, 0]
    first, second = (json.loads(pathlib.Path(path).read_text()) for path in paths)
    assert first == second
    assert first["latest"] == "model.ckpt-10"
    assert "cannot be evaluated on several hosts; batch with drop_remainder=True" in first["refusal"]
    one = estimator(str(tmp_path / "one"), "mock:8")
    one.train(train_input_fn, max_steps=10)
    for name, value in one.evaluate(eval_input_fn).items():
        np.testing.assert_allclose(first["metrics"][name], value, rtol=1e-5, err_msg=name)
