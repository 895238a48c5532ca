"""`TPUEstimator` on either engine, with a program of TensorFlow 1's time: same weights, metrics and predictions."""

import numpy as np
import pytest
import tensorflow as tf

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
    assert any("CrossReplicaSum" in operation.op_name for operation in compiled.traffic), "gradients are summed"
