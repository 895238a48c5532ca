"""Small programs for the tests of the estimator."""

import numpy as np
import tensorflow as tf

from trainer.estimator import EstimatorSpec, ModeKeys, RunConfig, TPUEstimator, TPUEstimatorSpec

v1 = tf.compat.v1
NUM_EXAMPLES = 20
FEATURES = np.random.default_rng(0).normal(size=(NUM_EXAMPLES, 3)).astype(np.float32)
LABELS = FEATURES @ np.array([1.0, -2.0, 0.5], np.float32)


def input_fn(mode, params):
    """Endless shuffled batches to train, else every example once, in order."""
    dataset = tf.data.Dataset.from_tensor_slices((FEATURES, LABELS))
    if mode == ModeKeys.TRAIN:
        dataset = dataset.shuffle(NUM_EXAMPLES).repeat()
    return dataset.batch(params["batch_size"], drop_remainder=mode == ModeKeys.TRAIN)


def predicted(features):
    """Tests call it beside `model_fn`, for the same weights."""
    with v1.variable_scope(v1.get_variable_scope(), reuse=v1.AUTO_REUSE):
        weights = v1.get_variable("weights", [3], initializer=v1.zeros_initializer())
    return tf.linalg.matvec(features, weights)


def minimize(loss):
    optimizer = v1.tpu.CrossShardOptimizer(v1.train.MomentumOptimizer(0.05, 0.9))
    return optimizer.minimize(loss, v1.train.get_global_step())


def squared_error(labels, values):
    return {"squared_error": v1.metrics.mean((labels - values) ** 2)}


def model_fn(features, labels, mode, params):
    """Linear regression, as a program for TPUEstimator."""
    values = predicted(features)
    if mode == ModeKeys.PREDICT:
        return TPUEstimatorSpec(mode, predictions={"value": values, "features": features})
    loss = tf.reduce_mean((values - labels) ** 2)
    if mode == ModeKeys.EVAL:
        return TPUEstimatorSpec(mode, loss=loss, eval_metrics=(squared_error, [labels, values]))
    return TPUEstimatorSpec(mode, loss=loss, train_op=minimize(loss))


def plain_model_fn(features, labels, mode):
    """The same for the plain Estimator."""
    values = predicted(features)
    if mode == ModeKeys.PREDICT:
        return EstimatorSpec(mode, predictions={"value": values})
    loss = tf.reduce_mean((values - labels) ** 2)
    return EstimatorSpec(mode, loss=loss, train_op=minimize(loss), eval_metric_ops=squared_error(labels, values))


def make_estimator(model_dir, model_fn=model_fn, **arguments):
    """A TPUEstimator on this machine's CPU; arguments of the RunConfig go under `config`."""
    config = RunConfig(model_dir=str(model_dir), **{"tf_random_seed": 1, **arguments.pop("config", {})})
    sizes = {"train_batch_size": 8, "eval_batch_size": 8, "predict_batch_size": 8}
    return TPUEstimator(model_fn, config=config, **{"use_tpu": False, **sizes, **arguments})


def loss_recorder():
    """A hook that records the loss of every step, by the name of its tensor in `named_loss_model_fn`."""

    class Recorder(v1.train.SessionRunHook):
        def __init__(self):
            self.losses = []

        def before_run(self, run_context):
            return v1.train.SessionRunArgs("the_loss:0")

        def after_run(self, run_context, run_values):
            self.losses.append(run_values.results)

    return Recorder()


def named_loss_model_fn(features, labels, mode, params):
    """Trains with dropout; its loss is called `the_loss`."""
    values = predicted(tf.nn.dropout(features, rate=0.3) if mode == ModeKeys.TRAIN else features)
    loss = tf.identity(tf.reduce_mean((values - labels) ** 2), name="the_loss")
    return TPUEstimatorSpec(mode, loss=loss, train_op=minimize(loss))


def events(directory):
    """Returns the scalars in a directory's events: `{tag: {step: value}}`."""
    found = {}
    for path in tf.io.gfile.glob(f"{directory}/*tfevents*"):
        for record in tf.data.TFRecordDataset(path):
            event = v1.Event.FromString(record.numpy())
            for value in event.summary.value:
                found.setdefault(value.tag, {})[event.step] = value.simple_value
    return found
