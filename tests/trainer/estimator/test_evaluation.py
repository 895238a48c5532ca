import numpy as np
import pytest
import tensorflow as tf

from trainer.errors import UserError
from trainer.estimator import Estimator, ModeKeys, RunConfig, TPUEstimatorSpec, checkpoints
from trainer.nn import metrics

from . import programs

v1 = tf.compat.v1


@pytest.fixture(name="trained")
def fixture_trained(tmp_path):
    estimator = programs.make_estimator(tmp_path)
    estimator.train(programs.input_fn, max_steps=5)
    return estimator


def expected_errors(estimator):
    return (programs.FEATURES @ estimator.get_variable_value("weights") - programs.LABELS) ** 2


def test_every_example_counts_once(trained):
    result = trained.evaluate(programs.input_fn)
    errors = expected_errors(trained)
    assert result["squared_error"] == pytest.approx(errors.mean(), rel=1e-5)
    batch_means = [errors[:8].mean(), errors[8:16].mean(), errors[16:].mean()]
    assert result["loss"] == pytest.approx(np.mean(batch_means), rel=1e-5)
    assert result["global_step"] == 5


def test_steps_limit_the_batches(trained):
    result = trained.evaluate(programs.input_fn, steps=2)
    assert result["squared_error"] == pytest.approx(expected_errors(trained)[:16].mean(), rel=1e-5)


def test_a_part_of_a_step_is_a_step(trained):
    losses = [trained.evaluate(programs.input_fn, steps=steps)["loss"] for steps in (1.5, 2, 1.0, 1)]
    assert losses[0] == losses[1] != losses[2] == losses[3]


def test_evaluations_do_not_add_up(trained):
    assert trained.evaluate(programs.input_fn) == trained.evaluate(programs.input_fn)


def test_evaluation_changes_nothing(trained):
    before = checkpoints.read(trained.latest_checkpoint())
    trained.evaluate(programs.input_fn)
    trained.train(programs.input_fn, steps=1)
    np.testing.assert_array_equal(checkpoints.read(trained.model_dir + "/model.ckpt-5")["weights"], before["weights"])


def test_the_program_is_traced_once(tmp_path):
    num_calls = {ModeKeys.TRAIN: 0, ModeKeys.EVAL: 0}

    def model_fn(features, labels, mode, params):
        num_calls[mode] += 1
        return programs.model_fn(features, labels, mode, params)

    estimator = programs.make_estimator(tmp_path, model_fn)
    for _ in range(3):
        estimator.train(programs.input_fn, steps=2)
        estimator.evaluate(programs.input_fn)
    assert num_calls == {ModeKeys.TRAIN: 1, ModeKeys.EVAL: 1}


def test_a_training_that_broke_off_is_evaluated_at_its_checkpoint(trained):
    class Break(v1.train.SessionRunHook):
        def __init__(self):
            self.results = []

        def after_run(self, run_context, run_values):
            self.results.append(trained.evaluate(programs.input_fn))
            if len(self.results) == 2:
                raise ConnectionError

    expected = trained.evaluate(programs.input_fn)
    hook = Break()
    with pytest.raises(ConnectionError):
        trained.train(programs.input_fn, steps=5, hooks=[hook])
    assert [*hook.results, trained.evaluate(programs.input_fn)] == [expected] * 3


def test_another_checkpoint_can_be_evaluated(trained):
    result = trained.evaluate(programs.input_fn, checkpoint_path=trained.model_dir + "/model.ckpt-0")
    assert result["global_step"] == 0
    assert result["squared_error"] == pytest.approx(np.mean(programs.LABELS**2), rel=1e-5)
    assert trained.evaluate(programs.input_fn)["global_step"] == 5


def test_a_damaged_newest_checkpoint_is_left_aside(tmp_path):
    estimator = programs.make_estimator(tmp_path, config={"save_checkpoints_steps": 2})
    estimator.train(programs.input_fn, max_steps=4)
    values = [one["value"] for one in estimator.predict(programs.input_fn, checkpoint_path=f"{tmp_path}/model.ckpt-2")]
    (tmp_path / "model.ckpt-4.data-00000-of-00001").write_bytes(b"")
    other = programs.make_estimator(tmp_path)
    assert other.evaluate(programs.input_fn)["global_step"] == 2
    np.testing.assert_array_equal([one["value"] for one in other.predict(programs.input_fn)], values)
    np.testing.assert_allclose(other.predictor()(tf.constant(programs.FEATURES))["value"], values, rtol=1e-5)
    with pytest.raises(UserError, match="damaged or missing"):
        other.evaluate(programs.input_fn, checkpoint_path=f"{tmp_path}/model.ckpt-4")


def test_a_checkpoint_that_is_not_there_is_refused(trained):
    path = f"{trained.latest_checkpoint()}.data-00000"
    with pytest.raises(UserError, match=r"data-00000: no such checkpoint; give its path without \.index"):
        trained.evaluate(programs.input_fn, checkpoint_path=path)
    with pytest.raises(checkpoints.DamagedCheckpointError, match="no such checkpoint"):
        next(trained.predict(programs.input_fn, checkpoint_path=path))


def test_events_go_to_a_directory_of_their_own(trained):
    result = trained.evaluate(programs.input_fn, name="test")
    assert trained.eval_dir("test") == trained.model_dir + "/eval_test"
    found = programs.events(trained.eval_dir("test"))
    assert {tag: values[5] for tag, values in found.items()} == pytest.approx(
        {name: value for name, value in result.items() if name != "global_step"}
    )


def test_an_untrained_model_is_evaluated_with_its_first_values(tmp_path):
    result = programs.make_estimator(tmp_path).evaluate(programs.input_fn)
    assert result["squared_error"] == pytest.approx(np.mean(programs.LABELS**2), rel=1e-5)
    assert result["global_step"] == 0


def test_empty_data_are_refused(trained):
    with pytest.raises(UserError, match="nothing to evaluate"):
        trained.evaluate(lambda params: programs.input_fn(ModeKeys.EVAL, params).take(0))


def test_no_steps_are_refused(trained):
    with pytest.raises(ValueError, match="Must specify steps > 0"):
        trained.evaluate(programs.input_fn, steps=0)


def with_metrics(metric_fn):
    def model_fn(features, labels, mode, params):
        spec = programs.model_fn(features, labels, mode, params)
        tensors = [labels, programs.predicted(features)]
        return spec._replace(eval_metrics=(metric_fn, tensors)) if mode == ModeKeys.EVAL else spec

    return model_fn


def keras_metric(module):
    def metric_fn(labels, values):
        metric = module.metrics.MeanSquaredError()
        metric.update_state(labels[:, tf.newaxis], values[:, tf.newaxis])
        return {"error": metric}

    return metric_fn


def keras_3(labels, values):
    import keras

    return keras_metric(keras)(labels, values)


def tf_keras(labels, values):
    import tf_keras as legacy

    return keras_metric(legacy)(labels, values)


def additive(labels, values):
    return {"error": metrics.mean((labels - values) ** 2)}


def version_1(labels, values):
    return {"error": v1.metrics.mean_squared_error(labels, values)}


@pytest.mark.parametrize("metric_fn", [additive, version_1, keras_3, tf_keras])
def test_metrics_of_every_kind(tmp_path, metric_fn):
    estimator = programs.make_estimator(tmp_path, with_metrics(metric_fn))
    estimator.train(programs.input_fn, max_steps=5)
    for _ in range(2):
        result = estimator.evaluate(programs.input_fn)
        assert result["error"] == pytest.approx(expected_errors(estimator).mean(), rel=1e-5)
    assert set(estimator.get_variable_names()) == {"weights", "weights/Momentum", "global_step"}


def test_tensors_of_metrics_may_have_names(tmp_path):
    def model_fn(features, labels, mode, params):
        spec = programs.model_fn(features, labels, mode, params)
        tensors = {"values": programs.predicted(features), "labels": labels}
        return spec._replace(eval_metrics=(additive, tensors)) if mode == ModeKeys.EVAL else spec

    assert "error" in programs.make_estimator(tmp_path, model_fn).evaluate(programs.input_fn)


@pytest.mark.parametrize(
    ("made", "error", "message"),
    [
        ({"loss": (tf.constant(1), tf.constant(1))}, ValueError, "Metric with name 'loss' is not allowed"),
        ({"global_step": (tf.constant(1), tf.constant(1))}, ValueError, "'global_step' is not allowed"),
        ({"error": tf.constant(1)}, TypeError, "must be a .value, update_op. pair"),
        ([(tf.constant(1), tf.constant(1))], TypeError, "evaluation metrics must be a dict, name to metric, got"),
    ],
)
def test_metrics_that_are_none_are_refused(tmp_path, made, error, message):
    estimator = programs.make_estimator(tmp_path, with_metrics(lambda labels, values: made))
    with pytest.raises(error, match=message):
        estimator.evaluate(programs.input_fn)


@pytest.mark.parametrize("kind", [version_1, keras_3, tf_keras])
def test_metrics_of_the_plain_estimator(tmp_path, kind):
    def model_fn(features, labels, mode):
        spec = programs.plain_model_fn(features, labels, mode)
        return spec._replace(eval_metric_ops=kind(labels, programs.predicted(features)))

    estimator = Estimator(model_fn, config=RunConfig(model_dir=str(tmp_path)))
    input_fn = lambda mode: programs.input_fn(mode, {"batch_size": 8})  # noqa: E731
    estimator.train(input_fn, steps=5)
    for _ in range(2):
        assert estimator.evaluate(input_fn)["error"] == pytest.approx(expected_errors(estimator).mean(), rel=1e-5)
    assert set(estimator.get_variable_names()) == {"weights", "weights/Momentum", "global_step"}


def averaging_model_fn(features, labels, mode, params):
    """Keeps an average of the weights, and evaluates with it."""
    spec = programs.model_fn(features, labels, mode, params)
    average = v1.train.ExponentialMovingAverage(0.5)
    weights = [variable for variable in v1.trainable_variables() if variable.op.name == "weights"]
    if mode == ModeKeys.TRAIN:
        with tf.control_dependencies([spec.train_op]):
            return spec._replace(train_op=average.apply(weights))

    def scaffold_fn():
        return v1.train.Scaffold(saver=v1.train.Saver(average.variables_to_restore(weights)))

    return spec._replace(scaffold_fn=scaffold_fn)


def test_a_scaffolds_saver_takes_variables_from_their_averages(tmp_path):
    estimator = programs.make_estimator(tmp_path, averaging_model_fn)
    estimator.train(programs.input_fn, max_steps=10)
    average = estimator.get_variable_value("weights/ExponentialMovingAverage")
    result = estimator.evaluate(programs.input_fn)
    errors = (programs.FEATURES @ average - programs.LABELS) ** 2
    assert result["squared_error"] == pytest.approx(errors.mean(), rel=1e-5)
    weights = estimator.get_variable_value("weights")
    estimator.train(programs.input_fn, steps=1)
    assert np.abs(estimator.get_variable_value("weights") - weights).max() < np.abs(average - weights).max()


def test_a_scaffold_is_made_once_for_all_evaluations(tmp_path):
    made = []

    def model_fn(features, labels, mode, params):
        spec = averaging_model_fn(features, labels, mode, params)
        if mode != ModeKeys.EVAL:
            return spec
        return spec._replace(scaffold_fn=lambda: made.append(mode) or spec.scaffold_fn())

    estimator = programs.make_estimator(tmp_path, model_fn)
    for _ in range(3):
        estimator.train(programs.input_fn, steps=2)
        estimator.evaluate(programs.input_fn)
    assert made == [ModeKeys.EVAL]


class EvaluateOnSave(v1.train.CheckpointSaverListener):
    def __init__(self, estimator):
        self.estimator = estimator

    def after_save(self, session, global_step_value):
        self.estimator.evaluate(programs.input_fn)


@pytest.mark.slow
def test_evaluating_averages_during_training_does_not_disturb_it(tmp_path):
    def trained_weights(name, listeners):
        config = {"save_checkpoints_steps": 3}
        estimator = programs.make_estimator(tmp_path / name, averaging_model_fn, config=config)
        estimator.train(programs.input_fn, max_steps=10, saving_listeners=listeners(estimator))
        return estimator.get_variable_value("weights")

    np.testing.assert_array_equal(
        trained_weights("plain", lambda estimator: []),
        trained_weights("evaluated", lambda estimator: [EvaluateOnSave(estimator)]),
    )


def test_a_model_fn_that_always_makes_its_train_op_does_not_train_in_evaluation(trained, tmp_path):
    def model_fn(features, labels, mode, params):
        loss = tf.reduce_mean((programs.predicted(features) - labels) ** 2)
        return TPUEstimatorSpec(mode, loss=loss, train_op=programs.minimize(loss), predictions={"x": features})

    estimator = programs.make_estimator(tmp_path, model_fn)
    assert estimator.evaluate(programs.input_fn)["loss"] == estimator.evaluate(programs.input_fn)["loss"]


def test_every_result_is_a_number_of_numpy(trained):
    result = trained.evaluate(programs.input_fn)
    assert {name: value.item() for name, value in result.items()}["global_step"] == 5


def test_the_value_of_a_metric_may_be_a_variable(tmp_path):
    def model_fn(features, labels, mode):
        spec = programs.plain_model_fn(features, labels, mode)
        if mode == ModeKeys.EVAL:
            seen = v1.get_local_variable("seen", [], initializer=v1.zeros_initializer())
            update = seen.assign_add(tf.cast(tf.size(labels), tf.float32))
            spec.eval_metric_ops["seen"] = (seen, update)
        return spec

    def input_fn():
        return tf.data.Dataset.from_tensor_slices((programs.FEATURES, programs.LABELS)).batch(8)

    result = Estimator(model_fn, str(tmp_path)).evaluate(input_fn)
    assert result["seen"] == programs.NUM_EXAMPLES
