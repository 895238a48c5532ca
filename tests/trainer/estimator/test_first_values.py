"""What a model without a checkpoint begins with, when its model_fn takes values from another checkpoint."""

import numpy as np
import pytest
import tensorflow as tf
from tf_keras.api._v1 import keras as legacy_keras

from trainer.estimator import ModeKeys, TPUEstimatorSpec, WarmStartSettings

from . import programs

v1 = tf.compat.v1
ENGINES = pytest.mark.parametrize(
    "engine",
    [{}, pytest.param({"use_tpu": True, "config": {"master": "mock:2"}}, marks=pytest.mark.slow)],
    ids=["tf", "mock:2"],
)


@pytest.fixture(name="donor")
def fixture_donor(tmp_path):
    estimator = programs.make_estimator(tmp_path / "donor")
    return estimator.train(programs.input_fn, max_steps=3).latest_checkpoint()


def fine_tuned(scaffold_fn):
    """A model whose weights have another name than those of the donor."""

    def model_fn(features, labels, mode, params):
        with v1.variable_scope("new"):
            values = programs.predicted(features)
        scaffold = scaffold_fn(params.get("donor"))
        if mode == ModeKeys.PREDICT:
            return TPUEstimatorSpec(mode, predictions={"value": values}, scaffold_fn=scaffold)
        loss = tf.reduce_mean((values - labels) ** 2)
        train_op = programs.minimize(loss) if mode == ModeKeys.TRAIN else None
        return TPUEstimatorSpec(mode, loss=loss, train_op=train_op, scaffold_fn=scaffold)

    return model_fn


def in_the_model_fn(path):
    v1.train.init_from_checkpoint(path, {"weights": "new/weights"})


def in_the_scaffold_fn(path):
    def scaffold_fn():
        v1.train.init_from_checkpoint(path, {"weights": "new/weights"})
        return v1.train.Scaffold()

    return scaffold_fn


def by_init_fn(path):
    def scaffold_fn():
        saver = v1.train.Saver({"weights": v1.trainable_variables()[0]})
        return v1.train.Scaffold(init_fn=lambda scaffold, session: saver.restore(session, path))

    return scaffold_fn


def by_an_assignment(path):
    assign = v1.assign(v1.trainable_variables()[0], tf.train.load_variable(path, "weights"))
    return lambda: v1.train.Scaffold(init_fn=lambda scaffold, session: session.run(assign))


def nothing(path):
    del path


STYLES = pytest.mark.parametrize("style", [in_the_model_fn, in_the_scaffold_fn, by_init_fn, by_an_assignment])


@ENGINES
@STYLES
def test_training_begins_with_the_values_and_changes_them(donor, tmp_path, engine, style):
    found = programs.make_estimator(tmp_path / "model", fine_tuned(style), params={"donor": donor}, **engine)
    settings = WarmStartSettings(donor, var_name_to_prev_var_name={"new/weights": "weights"})
    warm = programs.make_estimator(tmp_path / "warm", fine_tuned(nothing), warm_start_from=settings)
    for estimator in (found, warm):
        for max_steps in (2, 5):
            estimator.train(programs.input_fn, max_steps=max_steps)
    for step in (0, 2, 5):
        first, second = (
            tf.train.load_variable(f"{e.model_dir}/model.ckpt-{step}", "new/weights") for e in (found, warm)
        )
        np.testing.assert_allclose(first, second, rtol=1e-5)
    assert not np.allclose(first, tf.train.load_variable(donor, "weights"), rtol=0.1)


@ENGINES
@STYLES
def test_a_model_that_was_never_trained_is_used_with_the_values(donor, tmp_path, engine, style):
    estimator = programs.make_estimator(tmp_path / "model", fine_tuned(style), params={"donor": donor}, **engine)
    values = programs.FEATURES @ tf.train.load_variable(donor, "weights")
    found = [prediction["value"] for prediction in estimator.predict(programs.input_fn)]
    np.testing.assert_allclose(found, values, rtol=1e-4)
    losses = [np.mean(part) for part in np.split((values - programs.LABELS) ** 2, [8, 16])]
    assert estimator.evaluate(programs.input_fn)["loss"] == pytest.approx(np.mean(losses), rel=1e-5)


def test_a_warm_start_comes_after_what_the_model_fn_asks_for(donor, tmp_path):
    other = programs.make_estimator(tmp_path / "other").train(programs.input_fn, max_steps=9)
    settings = WarmStartSettings(other.model_dir, var_name_to_prev_var_name={"new/weights": "weights"})
    model_fn = fine_tuned(in_the_scaffold_fn)
    estimator = programs.make_estimator(tmp_path / "model", model_fn, params={"donor": donor}, warm_start_from=settings)
    estimator.train(programs.input_fn, max_steps=1)
    first = tf.train.load_variable(f"{tmp_path}/model/model.ckpt-0", "new/weights")
    np.testing.assert_array_equal(first, other.get_variable_value("weights"))


@pytest.mark.parametrize(
    ("layer", "name", "expected"),
    [
        (
            lambda x: legacy_keras.__internal__.legacy.layers.dense(x, 4),
            "dense/kernel",
            [0.5790013, -0.7803281, 0.7252606, -0.6124205],
        ),
        (lambda x: v1.get_variable("w", [3, 4]), "w", [0.5790013, -0.7803281, 0.7252606, -0.6124205]),
        (lambda x: tf.cast(v1.get_variable("i", [1, 2], tf.int32), tf.float32), "i", [0, 0]),
    ],
)
def test_first_values_without_an_initializer_are_those_of_tensorflow_1(tmp_path, layer, name, expected):
    """The numbers are what tf.estimator of TensorFlow 2.15 begins with (`disable_v2_behavior`, `tf_random_seed=1`)."""

    def model_fn(features, labels, mode, params):
        loss = tf.reduce_mean(layer(features)) + tf.reduce_mean(programs.predicted(features))
        return TPUEstimatorSpec(mode, loss=loss, train_op=programs.minimize(loss))

    def input_fn():
        return tf.data.Dataset.from_tensors((programs.FEATURES, programs.LABELS))

    programs.make_estimator(tmp_path, model_fn).train(input_fn, max_steps=1)
    np.testing.assert_allclose(tf.train.load_variable(f"{tmp_path}/model.ckpt-0", name)[0], expected, rtol=1e-6)


@pytest.mark.parametrize(("max_to_keep", "expected"), [(4, 4), (1, 2), (None, 7)])
def test_a_scaffolds_own_saver_may_keep_more_checkpoints(tmp_path, max_to_keep, expected):
    def model_fn(features, labels, mode, params):
        spec = programs.model_fn(features, labels, mode, params)
        return spec._replace(scaffold_fn=lambda: v1.train.Scaffold(saver=v1.train.Saver(max_to_keep=max_to_keep)))

    config = {"save_checkpoints_steps": 1, "keep_checkpoint_max": 2}
    programs.make_estimator(tmp_path, model_fn, config=config).train(programs.input_fn, max_steps=6)
    assert len(list(tmp_path.glob("*.index"))) == expected


def test_first_values_go_on_where_the_seeds_of_the_input_ended(tmp_path):
    """The numbers are those of tf.estimator of TensorFlow 2.15 for an input with one `shuffle` without a seed."""

    def model_fn(features, labels, mode, params):
        loss = tf.reduce_mean(features @ v1.get_variable("w", [3, 4]))
        return TPUEstimatorSpec(mode, loss=loss, train_op=programs.minimize(loss))

    programs.make_estimator(tmp_path, model_fn).train(programs.input_fn, max_steps=1)
    first = tf.train.load_variable(f"{tmp_path}/model.ckpt-0", "w")[0]
    np.testing.assert_allclose(first, [-0.82297236, -0.8911973, -0.794706, -0.42326248], rtol=1e-6)


def test_a_second_training_draws_what_it_draws_in_a_process_of_its_own(tmp_path):
    def model_fn(features, labels, mode, params):
        weight = v1.get_variable("weight", [])
        noise = tf.random.uniform([])
        update = v1.train.get_global_step().assign_add(1)
        return TPUEstimatorSpec(mode, loss=noise, train_op=tf.group(weight.assign(noise), update))

    def shuffled(params):
        return programs.input_fn(ModeKeys.TRAIN, params).shuffle(2)

    ended = programs.make_estimator(tmp_path / "ended", model_fn).train(programs.input_fn, max_steps=1)
    other = programs.make_estimator(tmp_path / "other", model_fn).train(programs.input_fn, max_steps=1)
    other = programs.make_estimator(tmp_path / "other", model_fn)
    values = [one.train(shuffled, max_steps=2).get_variable_value("weight") for one in (ended, other)]
    assert values[0] == values[1]
