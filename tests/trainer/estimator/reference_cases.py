"""Programs that TensorFlow 2.15's own Estimators and ours both run, and what comes of them.

This file runs under either TensorFlow: it imports nothing of `trainer` and takes the classes of the Estimator interface
from a `Toolkit`. `benchmarks/reference_estimator.py` runs it under both.

Initial values and dropout come from initializers with seeds: both TensorFlows draw the same numbers from them.
"""

import dataclasses
import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

v1 = tf.compat.v1
NUM_STEPS = 100
BATCH_SIZE = 16
NUM_PREDICTIONS = 32
NUM_CLASSES = 4


@dataclasses.dataclass(frozen=True)
class Toolkit:
    """The Estimator interface of one of the two, and TensorFlow 1's layers where that TensorFlow has them."""

    Estimator: Any
    TPUEstimator: Any
    EstimatorSpec: Any
    TPUEstimatorSpec: Any
    RunConfig: Any
    TPURunConfig: Any
    layers: Any
    rnn_cell: Any


@dataclasses.dataclass(frozen=True)
class Case:
    """A program: its model_fn (made for a toolkit), its data, and whether it is one for TPUEstimator."""

    make_model_fn: Callable[[Toolkit], Callable]
    shape: tuple
    is_tpu: bool = True


def data(shape):
    """Returns features `[96, *shape]` and labels `[96]`, which the features decide."""
    generator = np.random.RandomState(0)
    features = generator.normal(size=(96, *shape)).astype(np.float32)
    scores = features.reshape(96, -1) @ generator.normal(size=(int(np.prod(shape)), NUM_CLASSES))
    return features, scores.argmax(axis=1).astype(np.int32)


def make_input_fn(shape):
    def input_fn(mode, params):
        dataset = tf.data.Dataset.from_tensor_slices(data(shape))
        if mode == "train":
            dataset = dataset.shuffle(96, seed=5).repeat()
        # Metrics over full batches, so that the loss, a mean over steps, is one over examples too.
        return dataset.batch(params.get("batch_size", BATCH_SIZE), drop_remainder=True)

    return input_fn


def glorot(seed):
    return v1.glorot_uniform_initializer(seed=seed)


def dense(inputs, units, name, seed):
    """A layer of plain variables, so that a program needs no Keras."""
    with v1.variable_scope(name):
        kernel = v1.get_variable("kernel", [inputs.shape[-1], units], initializer=glorot(seed))
        bias = v1.get_variable("bias", [units], initializer=v1.zeros_initializer())
    return inputs @ kernel + bias


def cross_entropy(labels, logits):
    return v1.losses.sparse_softmax_cross_entropy(labels, logits)


def named(loss):
    return tf.identity(loss, name="the_loss")


def metric_fn(labels, logits):
    return {
        "accuracy": v1.metrics.accuracy(labels, tf.argmax(logits, axis=1)),
        "mean_logit": v1.metrics.mean(logits),
        "auc": v1.metrics.auc(tf.equal(labels, 0), tf.nn.softmax(logits)[:, 0]),
    }


def predictions(logits):
    return {"logits": logits, "class": tf.argmax(logits, axis=1)}


def tpu_spec(kit, mode, labels, logits, loss, train_op, **fields):
    if mode == "infer":
        return kit.TPUEstimatorSpec(mode, predictions=predictions(logits), **fields)
    metrics = (metric_fn, [labels, logits]) if mode == "eval" else None
    return kit.TPUEstimatorSpec(mode, loss=loss, train_op=train_op, eval_metrics=metrics, **fields)


def sharded(optimizer, params):
    """Wraps an optimizer as programs do: TensorFlow 1 has no sum over replicas off the TPU."""
    return v1.tpu.CrossShardOptimizer(optimizer) if params["use_tpu"] else optimizer


def cnn(kit):
    """TensorFlow 1's layers, batch normalisation through UPDATE_OPS, regularisation, momentum, a decaying rate."""

    def model_fn(features, labels, mode, params):
        is_training = mode == "train"
        regularizer = lambda kernel: 1e-3 * tf.nn.l2_loss(kernel)  # noqa: E731
        net = features
        for index, filters in enumerate((8, 16)):
            net = kit.layers.conv2d(
                net, filters, 3, padding="same", use_bias=False, name=f"conv{index}",
                kernel_initializer=glorot(index), kernel_regularizer=regularizer,
            )  # fmt: skip
            net = kit.layers.batch_normalization(net, momentum=0.9, training=is_training, name=f"norm{index}")
            net = kit.layers.max_pooling2d(tf.nn.relu(net), 2, 2)
        net = kit.layers.dense(
            kit.layers.flatten(net), NUM_CLASSES, kernel_initializer=glorot(7), kernel_regularizer=regularizer
        )
        if mode == "infer":
            return tpu_spec(kit, mode, labels, net, None, None)
        loss = named(cross_entropy(labels, net) + tf.add_n(v1.losses.get_regularization_losses()))
        train_op = None
        if is_training:
            step = v1.train.get_or_create_global_step()
            rate = v1.train.exponential_decay(0.02, step, 30, 0.5, staircase=True)
            optimizer = sharded(v1.train.MomentumOptimizer(rate, 0.9, use_nesterov=True), params)
            with tf.control_dependencies(v1.get_collection(v1.GraphKeys.UPDATE_OPS)):
                train_op = optimizer.minimize(loss, global_step=step)
        return tpu_spec(kit, mode, labels, net, loss, train_op)

    return model_fn


def adam_warmup(kit):
    """Adam after a warm-up of the rate, dropout with a seed, a clipped gradient."""

    def model_fn(features, labels, mode, params):
        net = tf.nn.relu(dense(features, 16, "hidden", 1))
        if mode == "train":
            net = tf.nn.dropout(net, rate=0.2, seed=9)
        logits = dense(net, NUM_CLASSES, "logits", 2)
        if mode == "infer":
            return tpu_spec(kit, mode, labels, logits, None, None)
        loss = named(cross_entropy(labels, logits))
        train_op = None
        if mode == "train":
            step = v1.train.get_or_create_global_step()
            fraction = tf.cast(step + 1, tf.float32) / 20.0
            rate = tf.where(step < 20, 0.01 * fraction, v1.train.polynomial_decay(0.01, step - 20, 80, power=0.5))
            optimizer = sharded(v1.train.AdamOptimizer(rate), params)
            gradients, variables = zip(*optimizer.compute_gradients(loss), strict=True)
            clipped, _ = tf.clip_by_global_norm(gradients, 1.0)
            train_op = optimizer.apply_gradients(zip(clipped, variables, strict=True), global_step=step)
        return tpu_spec(kit, mode, labels, logits, loss, train_op)

    return model_fn


def ema_scaffold(kit):
    """Averages of the weights, which evaluation and prediction restore through scaffold_fn; RMSProp."""

    def model_fn(features, labels, mode, params):
        logits = dense(tf.nn.tanh(dense(features, 12, "hidden", 1)), NUM_CLASSES, "logits", 2)
        average = v1.train.ExponentialMovingAverage(0.9, num_updates=v1.train.get_or_create_global_step())
        weights = v1.trainable_variables()
        loss = train_op = scaffold_fn = None
        if mode != "infer":
            loss = named(cross_entropy(labels, logits))
        if mode == "train":
            optimizer = sharded(v1.train.RMSPropOptimizer(0.01, decay=0.9, momentum=0.9, epsilon=1e-3), params)
            train_op = optimizer.minimize(loss, global_step=v1.train.get_global_step())
            with tf.control_dependencies([train_op]):
                train_op = average.apply(weights)
        else:

            def scaffold_fn():
                return v1.train.Scaffold(saver=v1.train.Saver(average.variables_to_restore(weights)))

        return tpu_spec(kit, mode, labels, logits, loss, train_op, scaffold_fn=scaffold_fn)

    return model_fn


def host_call(kit):
    """A host_call that writes summaries of the second API; FTRL."""

    def model_fn(features, labels, mode, params):
        logits = dense(features, NUM_CLASSES, "logits", 2)
        if mode == "infer":
            return tpu_spec(kit, mode, labels, logits, None, None)
        loss = named(cross_entropy(labels, logits))
        if mode == "eval":
            return tpu_spec(kit, mode, labels, logits, loss, None)
        step = v1.train.get_global_step()

        def host_fn(step, loss):
            step = step[0]
            writer = tf.compat.v2.summary.create_file_writer(params["summary_dir"])
            with writer.as_default(), tf.compat.v2.summary.record_if(tf.equal(step % 10, 0)):
                tf.compat.v2.summary.write("host_loss", loss[0], step=step)
                return v1.summary.all_v2_summary_ops()

        # TensorFlow 1 orders a read and a write only where it is told to.
        step_before = tf.reshape(step.read_value(), [1])
        with tf.control_dependencies([step_before]):
            train_op = sharded(v1.train.FtrlOptimizer(0.2), params).minimize(loss, global_step=step)
        tensors = [step_before, tf.reshape(loss, [1])]
        return tpu_spec(kit, mode, labels, logits, loss, train_op, host_call=(host_fn, tensors))

    return model_fn


def plain_dnn(kit):
    """A program for the plain Estimator: a deep network, metrics by name, summaries of TensorFlow 1."""

    def model_fn(features, labels, mode):
        net = features
        for index in range(3):
            net = tf.nn.relu(dense(net, 16, f"hidden{index}", index))
        logits = dense(net, NUM_CLASSES, "logits", 7)
        if mode == "infer":
            return kit.EstimatorSpec(mode, predictions=predictions(logits))
        loss = named(cross_entropy(labels, logits))
        v1.summary.scalar("own_loss", loss)
        optimizer = v1.train.AdagradOptimizer(0.1)
        train_op = optimizer.minimize(loss, global_step=v1.train.get_global_step()) if mode == "train" else None
        return kit.EstimatorSpec(mode, loss=loss, train_op=train_op, eval_metric_ops=metric_fn(labels, logits))

    return model_fn


def lstm(kit):
    """A recurrent network of dynamic_rnn."""

    def model_fn(features, labels, mode, params):
        cell = kit.rnn_cell.LSTMCell(8, initializer=glorot(3), name="lstm")
        outputs, _ = v1.nn.dynamic_rnn(cell, features, dtype=tf.float32)
        logits = dense(outputs[:, -1], NUM_CLASSES, "logits", 4)
        loss = train_op = None
        if mode != "infer":
            loss = named(cross_entropy(labels, logits))
        if mode == "train":
            optimizer = sharded(v1.train.GradientDescentOptimizer(0.3), params)
            train_op = optimizer.minimize(loss, global_step=v1.train.get_global_step())
        return tpu_spec(kit, mode, labels, logits, loss, train_op)

    return model_fn


CASES = {
    "cnn": Case(cnn, (8, 8, 3)),
    "adam_warmup": Case(adam_warmup, (10,)),
    "ema_scaffold": Case(ema_scaffold, (10,)),
    "host_call": Case(host_call, (10,)),
    "plain_dnn": Case(plain_dnn, (10,), is_tpu=False),
    "lstm": Case(lstm, (6, 5)),
}


class LossRecorder(v1.train.SessionRunHook):
    """Records the loss of every step."""

    def __init__(self):
        self.losses = []

    def before_run(self, run_context):
        return v1.train.SessionRunArgs("the_loss:0")

    def after_run(self, run_context, run_values):
        self.losses.append(short(run_values.results))


def make_estimator(case, kit, model_dir, warm_start_from=None):
    model_fn = case.make_model_fn(kit)
    if not case.is_tpu:
        config = kit.RunConfig(tf_random_seed=1, save_summary_steps=10)
        return kit.Estimator(model_fn, model_dir, config, warm_start_from=warm_start_from)
    config = kit.TPURunConfig(tf_random_seed=1, save_summary_steps=10)
    sizes = dict.fromkeys(("train_batch_size", "eval_batch_size", "predict_batch_size"), BATCH_SIZE)
    params = {"summary_dir": model_dir + "/host"}
    return kit.TPUEstimator(
        model_fn, model_dir, config, params, use_tpu=False, warm_start_from=warm_start_from, **sizes
    )  # fmt: skip


def input_fn_of(case):
    input_fn = make_input_fn(case.shape)
    return input_fn if case.is_tpu else lambda mode: input_fn(mode, {})


def train(case, kit, model_dir, num_steps=NUM_STEPS, warm_start_from=None):
    """Trains for some steps; returns the estimator and the loss of each step."""
    estimator = make_estimator(case, kit, model_dir, warm_start_from)
    recorder = LossRecorder()
    estimator.train(input_fn_of(case), hooks=[recorder], steps=num_steps)
    return estimator, recorder.losses


def outcome(case, kit, model_dir):
    """Trains, evaluates and predicts; returns all that is compared, as JSON can hold it."""
    estimator, losses = train(case, kit, model_dir)
    metrics = estimator.evaluate(input_fn_of(case))
    predicted = list(itertools.islice(estimator.predict(input_fn_of(case)), NUM_PREDICTIONS))
    return {
        "losses": losses,
        "metrics": {name: short(value) for name, value in sorted(metrics.items())},
        "variables": shapes(estimator),
        "logits": [[short(value) for value in one["logits"]] for one in predicted],
        "classes": [int(one["class"]) for one in predicted],
        "events": scalar_events(model_dir),
    }


def shapes(estimator):
    """Returns the shapes of the variables in the newest checkpoint, by name."""
    return {name: list(shape) for name, shape in sorted(tf.train.list_variables(estimator.latest_checkpoint()))}


def short(value):
    """Returns a float32 as the shortest decimal number that stands for it."""
    return float(str(np.float32(value)))


def scalar_events(model_dir):
    """Returns the program's own summaries: `{tag: {step: value}}`."""
    found = {}
    for path in sorted(tf.io.gfile.glob(model_dir + "/*tfevents*") + tf.io.gfile.glob(model_dir + "/host/*tfevents*")):
        for record in v1.io.tf_record_iterator(path):
            event = v1.Event.FromString(record)
            for value in event.summary.value:
                if value.tag in ("own_loss", "host_loss"):
                    is_tensor = value.HasField("tensor")
                    number = tf.make_ndarray(value.tensor) if is_tensor else value.simple_value
                    found.setdefault(value.tag, {})[str(event.step)] = short(number)
    return found
