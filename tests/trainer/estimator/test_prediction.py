import numpy as np
import pytest
import tensorflow as tf

from trainer.estimator import ModeKeys, TPUEstimatorSpec, checkpoints

from . import programs

v1 = tf.compat.v1


@pytest.fixture(name="trained")
def fixture_trained(tmp_path):
    estimator = programs.make_estimator(tmp_path)
    estimator.train(programs.input_fn, max_steps=5)
    return estimator


def test_predictions_keep_the_order_of_the_input(trained):
    predictions = list(trained.predict(programs.input_fn))
    np.testing.assert_array_equal([one["features"] for one in predictions], programs.FEATURES)
    expected = programs.FEATURES @ trained.get_variable_value("weights")
    np.testing.assert_allclose([one["value"] for one in predictions], expected, rtol=1e-5)


def test_batches_can_be_had_whole(trained):
    sizes = [len(batch["value"]) for batch in trained.predict(programs.input_fn, yield_single_examples=False)]
    assert sizes == [8, 8, 4]


def test_predictions_are_a_generator(trained):
    predictions = trained.predict(programs.input_fn)
    assert set(next(predictions)) == {"value", "features"}
    predictions.close()


def test_predict_twice(trained):
    first, second = (list(trained.predict(programs.input_fn, "value")) for _ in range(2))
    assert first == second
    assert len(first) == programs.NUM_EXAMPLES


@pytest.mark.parametrize("keys", ["value", ["value", "absent"]])
def test_only_the_wanted_predictions(trained, keys):
    assert set(next(trained.predict(programs.input_fn, keys))) == {"value"}


def test_predictions_that_do_not_exist_are_refused(trained):
    with pytest.raises(ValueError, match="Expected to run at least one output from"):
        next(trained.predict(programs.input_fn, "absent"))


def test_features_alone_are_enough(trained):
    def input_fn(params):
        return tf.data.Dataset.from_tensor_slices(programs.FEATURES).batch(params["batch_size"])

    assert len(list(trained.predict(input_fn))) == programs.NUM_EXAMPLES


def test_another_checkpoint_can_predict(trained):
    path = trained.model_dir + "/model.ckpt-0"
    assert all(one["value"] == 0 for one in trained.predict(programs.input_fn, checkpoint_path=path))
    assert any(one["value"] for one in trained.predict(programs.input_fn))


def test_no_train_batch_size_is_needed(trained):
    estimator = programs.make_estimator(trained.model_dir, train_batch_size=None, eval_batch_size=None)
    assert len(list(estimator.predict(programs.input_fn))) == programs.NUM_EXAMPLES


def predicting(make_predictions):
    def model_fn(features, labels, mode, params):
        spec = programs.model_fn(features, labels, mode, params)
        return spec._replace(predictions=make_predictions(features)) if mode == ModeKeys.PREDICT else spec

    return model_fn


def test_predictions_may_be_one_tensor(tmp_path):
    estimator = programs.make_estimator(tmp_path, predicting(lambda features: features))
    np.testing.assert_array_equal(list(estimator.predict(programs.input_fn)), programs.FEATURES)
    with pytest.raises(ValueError, match="non-dict predictions"):
        next(estimator.predict(programs.input_fn, "value"))


def test_predictions_need_a_row_per_example(tmp_path):
    estimator = programs.make_estimator(tmp_path, predicting(lambda features: {"a": features, "b": features[:1]}))
    with pytest.raises(ValueError, match="Batch length of predictions should be same"):
        next(estimator.predict(programs.input_fn))


def test_predictions_may_be_text(tmp_path):
    names = ["negative", "positive"]
    estimator = programs.make_estimator(
        tmp_path, predicting(lambda features: {"name": tf.gather(names, tf.cast(features[:, 0] > 0, tf.int32))})
    )
    found = [one["name"].decode() for one in estimator.predict(programs.input_fn)]
    assert found == [names[int(value > 0)] for value in programs.FEATURES[:, 0]]


@pytest.mark.parametrize("arguments", [{}, {"use_tpu": True, "config": {"master": "mock:4"}}], ids=["tf", "mock:4"])
def test_a_prediction_keeps_its_checkpoint_whatever_happens_meanwhile(tmp_path, arguments):
    estimator = programs.make_estimator(tmp_path, **arguments)
    estimator.train(programs.input_fn, max_steps=3)
    first, newest = tmp_path / "model.ckpt-0", estimator.latest_checkpoint()
    expected = list(estimator.predict(programs.input_fn, "value"))
    of_first = estimator.predict(programs.input_fn, "value", checkpoint_path=str(first))
    of_newest = estimator.predict(programs.input_fn, "value", checkpoint_path=newest)
    found = [next(of_newest)]
    assert next(of_first)["value"] == 0
    estimator.evaluate(programs.input_fn, checkpoint_path=str(first))
    estimator.train(programs.input_fn, steps=3)
    assert all(one["value"] == 0 for one in of_first)
    np.testing.assert_allclose([one["value"] for one in [*found, *of_newest]], [one["value"] for one in expected])


@pytest.mark.parametrize(
    "arguments",
    [{}, pytest.param({"use_tpu": True, "config": {"master": "mock:4"}}, marks=pytest.mark.slow)],
    ids=["tf", "mock:4"],
)
def test_a_prediction_keeps_its_first_values_whatever_happens_meanwhile(tmp_path, arguments):
    class Predicting(v1.train.SessionRunHook):
        def after_run(self, run_context, run_values):
            assert next(predictions)["value"] == 0

    estimator, alone = (programs.make_estimator(tmp_path / name, **arguments) for name in ("model", "alone"))
    predictions = estimator.predict(programs.input_fn, "value", yield_single_examples=False)
    assert not next(predictions)["value"].any()
    predictions = estimator.predict(programs.input_fn, "value")
    assert next(predictions)["value"] == 0
    estimator.train(programs.input_fn, max_steps=10, hooks=[Predicting()])
    alone.train(programs.input_fn, max_steps=10)
    for name in ("weights", "weights/Momentum"):
        np.testing.assert_array_equal(estimator.get_variable_value(name), alone.get_variable_value(name))
    assert all(one["value"] == 0 for one in predictions)
    np.testing.assert_array_equal(*(list(one.predict(programs.input_fn, "value")) for one in (estimator, alone)))


def test_averages_are_read_once_for_a_prediction(tmp_path, monkeypatch):
    reads = []

    def model_fn(features, labels, mode, params):
        values = programs.predicted(features)
        if mode == ModeKeys.TRAIN:
            loss = tf.reduce_mean((values - labels) ** 2)
            return TPUEstimatorSpec(mode, loss=loss, train_op=programs.minimize(loss))
        (weights,) = v1.trainable_variables()

        def scaffold_fn():
            reads.append("scaffold")
            return v1.train.Scaffold(saver=v1.train.Saver({"weights/Momentum": weights}))

        return TPUEstimatorSpec(mode, predictions={"value": values}, scaffold_fn=scaffold_fn)

    estimator = programs.make_estimator(tmp_path, model_fn)
    estimator.train(programs.input_fn, max_steps=2)
    original = checkpoints.read
    monkeypatch.setattr(checkpoints, "read", lambda *args: reads.append("checkpoint") or original(*args))
    found = [one["value"] for _ in range(2) for one in estimator.predict(programs.input_fn)]
    assert reads == ["scaffold", "checkpoint"]
    momentum = original(estimator.latest_checkpoint())["weights/Momentum"]
    np.testing.assert_allclose(found, np.tile(programs.FEATURES @ momentum, 2), rtol=1e-5)


def test_a_prediction_that_is_left_open_does_not_disturb_training(tmp_path):
    class Predicting(v1.train.SessionRunHook):
        def after_run(self, run_context, run_values):
            path = str(tmp_path / "disturbed" / "model.ckpt-0")
            self.open_prediction = estimator.predict(programs.input_fn, checkpoint_path=path)
            assert next(self.open_prediction)["value"] == 0

    weights = []
    for name, hooks in {"alone": [], "disturbed": [Predicting()]}.items():
        estimator = programs.make_estimator(tmp_path / name)
        estimator.train(programs.input_fn, max_steps=4, hooks=hooks)
        weights.append(estimator.get_variable_value("weights"))
    np.testing.assert_array_equal(*weights)


def test_hooks_of_a_prediction_see_the_step_of_its_checkpoint(trained):
    class Hook(v1.train.SessionRunHook):
        step = None

        def after_create_session(self, session, coord):
            Hook.step = session.run(v1.train.get_global_step())

    another = programs.make_estimator(trained.model_dir)
    list(another.predict(programs.input_fn, hooks=[Hook()]))
    assert Hook.step == 5


def test_a_checkpoint_without_a_step_can_predict(trained, tmp_path):
    weights = tf.Variable(trained.get_variable_value("weights"))
    path = str(tmp_path / "foreign" / "bert_model.ckpt")
    v1.train.Saver({"weights": weights}).save(None, path, write_meta_graph=False, write_state=False)
    found = [one["value"] for one in trained.predict(programs.input_fn, checkpoint_path=path)]
    assert found == [one["value"] for one in trained.predict(programs.input_fn)]


def test_each_batch_of_a_prediction_draws_random_numbers_of_its_own(tmp_path):
    """As in TensorFlow 1, whose sessions count their runs: the n-th batch draws what the n-th step of training does."""

    def model_fn(features, labels, mode, params):
        noise = tf.random.uniform([8])
        looped = tf.while_loop(lambda i, x: i < 1, lambda i, x: (i + 1, x + tf.random.uniform([8])), (0, tf.zeros([8])))
        return TPUEstimatorSpec(mode, predictions={"noise": noise, "looped": looped[1]})

    def input_fn():
        return tf.data.Dataset.from_tensors(programs.FEATURES[:8]).repeat(3)

    estimator = programs.make_estimator(tmp_path, model_fn)
    found = list(estimator.predict(input_fn, yield_single_examples=False))
    with tf.Graph().as_default() as graph, v1.Session() as session:
        graph.seed = 1
        noise = tf.random.uniform([8])
        np.testing.assert_array_equal([batch["noise"] for batch in found], [session.run(noise) for _ in range(3)])
    assert len({batch["looped"].tobytes() for batch in found}) == 3
    again = estimator.predict(input_fn, yield_single_examples=False)
    np.testing.assert_array_equal([batch["noise"] for batch in again], [batch["noise"] for batch in found])


def test_an_evaluation_begins_with_the_same_random_numbers_each_time(trained):
    def model_fn(features, labels, mode, params):
        spec = programs.model_fn(features, labels, mode, params)
        return spec._replace(loss=spec.loss + tf.random.uniform([]))

    noisy = programs.make_estimator(trained.model_dir, model_fn)
    losses = [noisy.evaluate(programs.input_fn)["loss"] for _ in range(2)]
    assert losses[0] == losses[1]


def test_a_program_may_call_a_variable_what_it_likes(tmp_path):
    """What counts the runs of a prediction has a name of its own."""

    def model_fn(features, labels, mode, params):
        spec = programs.model_fn(features, labels, mode, params)
        runs = v1.get_variable("runs", [3], initializer=v1.zeros_initializer())
        return spec._replace(predictions=features + runs) if mode == ModeKeys.PREDICT else spec

    estimator = programs.make_estimator(tmp_path, model_fn)
    estimator.train(programs.input_fn, max_steps=1)
    np.testing.assert_array_equal(list(estimator.predict(programs.input_fn)), programs.FEATURES)
