"""Every way in which programs write their model_fn: each trains, resumes bit for bit, evaluates and predicts."""

import os
import shutil

import keras
import numpy as np
import pytest
import tensorflow as tf
import tf_keras
from tf_keras.api._v1 import keras as legacy_keras

from tests.durations import slow_but
from trainer.estimator import ModeKeys, TPUEstimatorSpec, checkpoints
from trainer.nn.metrics import mean

from . import programs

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")
v1 = tf.compat.v1
layers = legacy_keras.__internal__.legacy.layers
rnn_cell = legacy_keras.__internal__.legacy.rnn_cell


def keras_3_model(features, is_training):
    """A functional model of Keras 3, with dropout and batch normalisation."""
    inputs = keras.Input([3])
    hidden = keras.layers.Dense(4, "tanh", name="hidden")(inputs)
    hidden = keras.layers.Dropout(0.2, seed=1)(keras.layers.BatchNormalization(name="norm")(hidden))
    model = keras.Model(inputs, keras.layers.Dense(1, name="head")(hidden))
    return model(features, training=is_training)[:, 0]


def keras_3_subclass(features, is_training):
    class Network(keras.Model):
        def __init__(self):
            super().__init__()
            self.hidden = keras.layers.Dense(4, "tanh")
            self.head = keras.layers.Dense(1)

        def call(self, inputs):
            return self.head(self.hidden(inputs))

    return Network()(features)[:, 0]


def keras_2_model(features, is_training):
    """A sequential model of Keras 2."""
    model = tf_keras.Sequential([tf_keras.layers.Dense(4, "tanh"), tf_keras.layers.Dense(1)])
    return model(features, training=is_training)[:, 0]


def tensorflow_1_layers(features, is_training):
    """`tf.layers` with dropout and batch normalisation, whose updates are in UPDATE_OPS."""
    hidden = layers.dense(features, 4, tf.tanh)
    hidden = layers.batch_normalization(hidden, training=is_training)
    hidden = layers.dropout(hidden, 0.2, training=is_training)
    return layers.dense(hidden, 1)[:, 0]


def recurrent(features, is_training):
    """dynamic_rnn with dropout in its loop."""
    cell = rnn_cell.DropoutWrapper(rnn_cell.GRUCell(4), output_keep_prob=0.8 if is_training else 1.0)
    outputs, _ = v1.nn.dynamic_rnn(cell, features[:, :, tf.newaxis], dtype=tf.float32)
    return layers.dense(outputs[:, -1], 1)[:, 0]


def bfloat16(features, is_training):
    """Computes in bfloat16, keeps float32 variables."""
    with v1.tpu.bfloat16_scope():
        hidden = layers.dense(tf.cast(features, tf.bfloat16), 4, tf.tanh)
        assert hidden.dtype == tf.bfloat16
        outputs = layers.dense(hidden, 1)[:, 0]
    return tf.cast(outputs, tf.float32)


class Network(tf.Module):
    """A module that makes its variables when it is first called."""

    @tf.Module.with_name_scope
    def __call__(self, features):
        self.kernel = tf.Variable(tf.ones([3, 1]), name="kernel")
        return (features @ self.kernel)[:, 0]


def module(features, is_training):
    return Network(name="network")(features)


def custom_gradient(features, is_training):
    """Clips the gradient that flows back."""

    @tf.custom_gradient
    def clipped(x):
        return tf.identity(x), lambda upstream: tf.clip_by_value(upstream, -0.1, 0.1)

    return clipped(programs.predicted(features))


def branching(features, is_training):
    """A branch and a loop with random numbers, made by the step."""
    values = programs.predicted(features)
    if not is_training:
        return values
    is_even = tf.equal(v1.train.get_global_step() % 2, 0)
    noise = tf.map_fn(lambda _: tf.random.normal([]), tf.range(8.0))
    return tf.cond(is_even, lambda: values + 0.1 * noise, lambda: values * tf.random.uniform([], 0.9, 1.1))


STYLES = {
    network.__name__: network
    for network in (
        keras_3_model,
        keras_3_subclass,
        keras_2_model,
        tensorflow_1_layers,
        recurrent,
        bfloat16,
        module,
        custom_gradient,
        branching,
    )
}


class SignOptimizer(v1.train.Optimizer):
    """An optimizer of the program's own, with a slot: sums the signs of gradients."""

    def __init__(self, rate):
        super().__init__(use_locking=False, name="Sign")
        self._rate = rate

    def _create_slots(self, var_list):
        for variable in var_list:
            self._zeros_slot(variable, "sum", self._name)

    def _resource_apply_dense(self, grad, var):
        total = self.get_slot(var, "sum")
        added = total.assign(0.9 * total + tf.sign(grad))
        return var.assign_sub(self._rate * added)


def make_model_fn(network, optimizer):
    def model_fn(features, labels, mode, params):
        values = network(features, mode == ModeKeys.TRAIN)
        if mode == ModeKeys.PREDICT:
            return TPUEstimatorSpec(mode, predictions={"value": values})
        loss = tf.reduce_mean((values - labels) ** 2)
        if mode == ModeKeys.EVAL:
            metric_fn = lambda labels, values: {"error": mean((labels - values) ** 2)}  # noqa: E731
            return TPUEstimatorSpec(mode, loss=loss, eval_metrics=(metric_fn, [labels, values]))
        with tf.control_dependencies(v1.get_collection(v1.GraphKeys.UPDATE_OPS)):
            train_op = optimizer().minimize(loss, v1.train.get_global_step())
        return TPUEstimatorSpec(mode, loss=loss, train_op=train_op)

    return model_fn


def train(model_dir, model_fn, *all_max_steps):
    """Trains in as many processes' stead as there are numbers of steps."""
    for max_steps in all_max_steps:
        estimator = programs.make_estimator(model_dir, model_fn)
        estimator.train(programs.input_fn, max_steps=max_steps)
    return estimator, checkpoints.read(estimator.latest_checkpoint())


@pytest.mark.parametrize("name", slow_but(STYLES, "keras_3_model", "keras_2_model", "tensorflow_1_layers", "module"))
def test_a_style_trains_evaluates_predicts_and_resumes(tmp_path, name):
    model_fn = make_model_fn(STYLES[name], lambda: v1.train.AdamOptimizer(0.05))
    estimator, values = train(tmp_path / "whole", model_fn, 100)
    _, first = train(tmp_path / "first", model_fn, 1)
    assert values.keys() == first.keys()
    first_error = programs.make_estimator(tmp_path / "first", model_fn).evaluate(programs.input_fn)["error"]
    result = estimator.evaluate(programs.input_fn)
    assert result["error"] < 0.8 * first_error
    predicted = np.array([one["value"] for one in estimator.predict(programs.input_fn)])
    assert np.mean((predicted - programs.LABELS) ** 2) == pytest.approx(result["error"], rel=1e-2)


@pytest.mark.parametrize("name", slow_but(STYLES, "keras_3_model", "tensorflow_1_layers"))
def test_a_style_resumes_bit_for_bit(tmp_path, name):
    model_fn = make_model_fn(STYLES[name], lambda: v1.train.AdamOptimizer(0.05))

    def trained(model_dir):
        estimator = programs.make_estimator(model_dir, model_fn, config={"save_checkpoints_steps": 3})
        estimator.train(endless_input_fn, max_steps=6)
        return checkpoints.read(estimator.latest_checkpoint())

    expected = trained(tmp_path / "whole")
    (tmp_path / "resumed").mkdir()
    for path in (tmp_path / "whole").glob("model.ckpt-3.*"):
        shutil.copy(path, tmp_path / "resumed")
    found = trained(tmp_path / "resumed")
    assert expected.keys() == found.keys()
    for variable, value in expected.items():
        np.testing.assert_array_equal(found[variable], value, err_msg=variable)


def endless_input_fn(params, start_step):
    dataset = tf.data.Dataset.from_tensor_slices((programs.FEATURES, programs.LABELS)).repeat()
    return dataset.batch(params["batch_size"], drop_remainder=True).skip(start_step)


def test_an_optimizer_of_the_programs_own(tmp_path):
    model_fn = make_model_fn(lambda features, _: programs.predicted(features), lambda: SignOptimizer(0.01))
    estimator, values = train(tmp_path, model_fn, 10, 40)
    assert set(values) == {"weights", "weights/Sign", "global_step"}
    assert estimator.evaluate(programs.input_fn)["error"] < 2


def test_an_optimizer_of_keras(tmp_path):
    def model_fn(features, labels, mode, params):
        values = programs.predicted(features)
        loss = tf.reduce_mean((values - labels) ** 2)
        variables = v1.trainable_variables()
        optimizer = tf_keras.optimizers.legacy.SGD(0.1, momentum=0.9)
        optimizer.iterations = v1.train.get_global_step()
        train_op = optimizer.apply_gradients(zip(tf.gradients(loss, variables), variables, strict=True))
        return TPUEstimatorSpec(mode, loss=loss, train_op=train_op)

    estimator, values = train(tmp_path, model_fn, 10, 40)
    assert values["global_step"] == 40
    assert estimator.evaluate(programs.input_fn)["loss"] < 0.1


def test_only_the_weights_of_the_branch_that_trains_are_trainable(tmp_path):
    def model_fn(features, labels, mode, params):
        with v1.variable_scope("frozen"):
            frozen = v1.get_variable("bias", [], trainable=False, initializer=v1.ones_initializer())
        with v1.variable_scope("shared", reuse=v1.AUTO_REUSE):
            values = programs.predicted(features) + programs.predicted(features) + frozen
        loss = tf.reduce_mean((values - labels) ** 2) + tf.add_n(
            [0.01 * tf.nn.l2_loss(w) for w in v1.trainable_variables()]
        )
        return TPUEstimatorSpec(mode, loss=loss, train_op=programs.minimize(loss))

    _, values = train(tmp_path, model_fn, 20)
    assert set(values) == {"frozen/bias", "shared/weights", "shared/weights/Momentum", "global_step"}
    assert values["frozen/bias"] == 1
    np.testing.assert_array_equal(np.sign(values["shared/weights"][:2]), [1, -1])


def in_half_precision(features, labels, mode, params):
    """A loss, a metric's tensor and an evaluation that are numbers of bfloat16, which numpy does not know."""
    loss = tf.reduce_mean((programs.predicted(features) - labels) ** 2)
    train_op = programs.minimize(loss) if mode == ModeKeys.TRAIN else None
    half = tf.cast(loss, tf.bfloat16, name="half")
    metrics = (lambda half: {"half": v1.metrics.mean(tf.cast(half, tf.float32))}, [half[tf.newaxis]])
    return TPUEstimatorSpec(mode, loss=half, train_op=train_op, eval_metrics=metrics)


@pytest.mark.parametrize("tpu", ["", "mock:1"])
def test_numbers_of_bfloat16(tmp_path, tpu):
    device = {"use_tpu": True, "config": {"master": tpu}} if tpu else {}
    estimator = programs.make_estimator(tmp_path, in_half_precision, **device)
    hook = v1.train.LoggingTensorHook({"half": "half:0"}, every_n_iter=1)
    estimator.train(programs.input_fn, max_steps=2, hooks=[] if tpu else [hook])
    values = estimator.evaluate(programs.input_fn, steps=2)
    np.testing.assert_allclose(values["loss"], values["half"], rtol=1e-6)


def test_a_name_that_is_taken_is_refused_outside_a_scope_that_reuses(tmp_path):
    def model_fn(features, labels, mode, params):
        spec = programs.model_fn(features, labels, mode, params)
        v1.get_variable("weights", [3])
        return spec

    with pytest.raises(ValueError, match="Variable weights already exists, disallowed"):
        programs.make_estimator(tmp_path, model_fn).train(programs.input_fn, max_steps=1)


@pytest.mark.skipif("TF_USE_LEGACY_KERAS" in os.environ, reason="tests TensorFlow as it is by default")
def test_layers_of_tensorflow_1_without_keras_2_say_what_to_do(tmp_path):
    def model_fn(features, labels, mode, params):
        return v1.layers.dense(features, 1)

    with pytest.raises(AttributeError, match=r"not available with Keras 3\. .* set TF_USE_LEGACY_KERAS=1"):
        programs.make_estimator(tmp_path, model_fn).train(programs.input_fn, max_steps=1)


@pytest.mark.parametrize(
    ("branch", "count"),
    [
        (lambda counter: tf.identity(counter.assign_add(1.0)), 3),
        (lambda counter: (counter.assign_add(1.0), tf.constant(0.0))[1], 0),
    ],
    ids=["returned", "statement"],
)
def test_an_assignment_in_a_branch_runs_if_the_branch_returns_it(tmp_path, branch, count):
    """So it is under the Estimator of TensorFlow 2.15."""

    def model_fn(features, labels, mode, params):
        counter = v1.get_variable("counter", [], initializer=v1.zeros_initializer(), trainable=False)
        taken = tf.cond(tf.reduce_sum(labels**2) > 0, lambda: branch(counter), lambda: tf.constant(0.0))
        spec = programs.model_fn(features, labels, mode, params)
        return spec._replace(train_op=tf.group(spec.train_op, taken))

    estimator = programs.make_estimator(tmp_path, model_fn)
    estimator.train(programs.input_fn, max_steps=3)
    assert estimator.get_variable_value("counter") == count


@pytest.mark.parametrize("wrapped", [lambda call: call, tf.function], ids=["as it is", "in a function"])
def test_a_sequential_of_keras_2_names_its_variables_as_in_a_graph(tmp_path, wrapped):
    def model_fn(features, labels, mode, params):
        layers = [tf_keras.layers.Dense(2), tf_keras.Sequential([tf_keras.layers.Dense(1)])]
        model = wrapped(tf_keras.Sequential(layers))
        loss = tf.reduce_mean((model(features)[:, 0] - labels) ** 2)
        return TPUEstimatorSpec(mode, loss=loss, train_op=programs.minimize(loss) if mode == ModeKeys.TRAIN else None)

    estimator = programs.make_estimator(tmp_path, model_fn)
    estimator.train(programs.input_fn, steps=1)
    names = {name for name in estimator.get_variable_names() if not name.endswith("Momentum")}
    outer, inner = "sequential_1/dense", "sequential_1/sequential/dense_1"
    assert names == {f"{layer}/{part}" for layer in (outer, inner) for part in ("kernel", "bias")} | {"global_step"}
    estimator.evaluate(programs.input_fn)
