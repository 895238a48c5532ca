import os
import pathlib

import numpy as np
import pytest
import tensorflow as tf

from trainer.errors import UserError
from trainer.estimator import Estimator, EstimatorSpec, ModeKeys, ProgressHook, checkpoints
from trainer.estimator.checkpointer import NanLossError

from . import programs

v1 = tf.compat.v1


def global_step(estimator):
    return int(estimator.get_variable_value("global_step"))


def test_steps_are_incremental_and_max_steps_absolute(tmp_path):
    estimator = programs.make_estimator(tmp_path)
    assert estimator.train(programs.input_fn, steps=3) is estimator
    assert global_step(estimator) == 3
    estimator.train(programs.input_fn, steps=3)
    assert global_step(estimator) == 6
    estimator.train(programs.input_fn, max_steps=8)
    estimator.train(programs.input_fn, max_steps=8)
    assert global_step(estimator) == 8


def test_training_learns(tmp_path):
    estimator = programs.make_estimator(tmp_path)
    estimator.train(programs.input_fn, max_steps=200)
    np.testing.assert_allclose(estimator.get_variable_value("weights"), [1, -2, 0.5], atol=0.02)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"steps": 1, "max_steps": 1}, "Can not provide both steps and max_steps"),
        ({"steps": 0}, "Must specify steps > 0"),
        ({"max_steps": -1}, "Must specify max_steps > 0"),
    ],
)
def test_wrong_limits_are_refused(tmp_path, arguments, message):
    with pytest.raises(ValueError, match=message):
        programs.make_estimator(tmp_path).train(programs.input_fn, **arguments)


def once(params):
    return programs.input_fn(ModeKeys.EVAL, params)


def test_without_limits_training_ends_with_the_data_each_time(tmp_path):
    estimator = programs.make_estimator(tmp_path)
    for expected in (3, 6):
        estimator.train(once)
        assert global_step(estimator) == expected


def test_the_first_values_are_saved_and_the_last(tmp_path):
    programs.make_estimator(tmp_path).train(programs.input_fn, max_steps=7)
    assert sorted(path.stem for path in tmp_path.glob("*.index")) == ["model.ckpt-0", "model.ckpt-7"]


@pytest.mark.parametrize(
    ("config", "steps"),
    [
        ({"save_checkpoints_steps": 3, "keep_checkpoint_max": 2}, [6, 7]),
        ({"save_checkpoints_secs": 0}, [0, 7]),
        ({"save_checkpoints_steps": 0}, [0, 7]),
    ],
)
def test_checkpoints_follow_their_cadence(tmp_path, config, steps):
    programs.make_estimator(tmp_path, config=config).train(programs.input_fn, max_steps=7)
    assert sorted(path.stem for path in tmp_path.glob("*.index")) == [f"model.ckpt-{step}" for step in steps]


def test_another_process_continues_from_the_checkpoint(tmp_path):
    programs.make_estimator(tmp_path).train(programs.input_fn, max_steps=5)
    estimator = programs.make_estimator(tmp_path)
    estimator.train(programs.input_fn, max_steps=6)
    assert global_step(estimator) == 6


def test_a_model_dir_of_another_model_is_refused(tmp_path):
    def other_model_fn(features, labels, mode, params):
        v1.get_variable("another", [2])
        return programs.model_fn(features, labels, mode, params)

    programs.make_estimator(tmp_path).train(programs.input_fn, max_steps=1)
    with pytest.raises(UserError, match="lacks 1 of the model's variables, another"):
        programs.make_estimator(tmp_path, other_model_fn).train(programs.input_fn, max_steps=2)
    assert sorted(path.stem for path in tmp_path.glob("*.index")) == ["model.ckpt-0", "model.ckpt-1"]


def diverging_model_fn(features, labels, mode, params):
    spec = programs.model_fn(features, labels, mode, params)
    is_bad = v1.train.get_global_step() >= params["bad_step"]
    loss = tf.where(is_bad, float("nan"), 1.0) * tf.reduce_mean((programs.predicted(features) - labels) ** 2)
    return spec._replace(loss=loss, train_op=programs.minimize(loss))


@pytest.mark.parametrize("config", [{"save_checkpoints_steps": 5}, {"log_step_count_steps": 3}, {}])
def test_a_nan_loss_stops_and_leaves_a_finite_checkpoint(tmp_path, config):
    estimator = programs.make_estimator(tmp_path, diverging_model_fn, params={"bad_step": 12}, config=config)
    with pytest.raises(
        NanLossError, match=r"the last good checkpoint is .*model\.ckpt-\d+: NaN loss.* at step 13"
    ) as error:
        estimator.train(programs.input_fn, max_steps=40)
    assert isinstance(error.value, v1.train.NanLossDuringTrainingError)
    assert isinstance(error.value, UserError)
    latest = estimator.latest_checkpoint()
    assert latest in str(error.value)
    assert all(np.isfinite(value).all() for value in checkpoints.read(latest).values())


def test_weights_that_are_not_finite_are_not_saved(tmp_path):
    def model_fn(features, labels, mode, params):
        spec = programs.model_fn(features, labels, mode, params)
        with tf.control_dependencies([spec.train_op]):
            weights = next(variable for variable in v1.trainable_variables() if variable.op.name == "weights")
            return spec._replace(train_op=weights.assign(weights * float("inf")))

    with pytest.raises(NanLossError, match="the weight weights is not finite at step 1"):
        programs.make_estimator(tmp_path, model_fn).train(programs.input_fn, max_steps=1)


def test_loss_scalars_and_speed_are_written_as_events(tmp_path):
    def model_fn(features, labels, mode, params):
        spec = programs.model_fn(features, labels, mode, params)
        return spec._replace(scalars={"double_loss": 2 * spec.loss})

    programs.make_estimator(tmp_path, model_fn, config={"log_step_count_steps": 2}).train(
        programs.input_fn, max_steps=5
    )
    found = programs.events(tmp_path)
    assert set(found) == {"loss", "double_loss", "global_step/sec", "examples/sec"}
    assert set(found["loss"]) == {1, 2, 4, 5}
    assert found["double_loss"][4] == pytest.approx(2 * found["loss"][4])
    assert found["examples/sec"][4] == pytest.approx(8 * found["global_step/sec"][4])


def test_speed_counts_examples_not_the_first_axis(tmp_path):
    def input_fn(mode, params):
        return programs.input_fn(mode, params).map(lambda features, labels: (tf.transpose(features), labels))

    def model_fn(features, labels, mode, params):
        return programs.model_fn(tf.transpose(features), labels, mode, params)

    programs.make_estimator(tmp_path, model_fn, config={"log_step_count_steps": 2}).train(input_fn, max_steps=4)
    found = programs.events(tmp_path)
    assert found["examples/sec"][4] == pytest.approx(8 * found["global_step/sec"][4])


def test_progress_is_told(tmp_path):
    class Listener(ProgressHook):
        def __init__(self):
            self.heard = []

        def on_progress(self, progress):
            self.heard.append(progress)

    listener = Listener()
    estimator = programs.make_estimator(tmp_path, config={"log_step_count_steps": 4})
    estimator.train(programs.input_fn, max_steps=10, hooks=[listener])
    assert [(progress.step, progress.last_step) for progress in listener.heard] == [(4, 10), (8, 10), (10, 10)]
    assert listener.heard[0].remaining_secs == pytest.approx(6 / listener.heard[0].steps_per_sec)
    assert listener.heard[-1].remaining_secs == 0


def test_the_last_step_is_told_even_when_it_has_just_been_saved(tmp_path):
    programs.make_estimator(tmp_path, config={"save_checkpoints_steps": 3}).train(programs.input_fn, max_steps=6)
    assert set(programs.events(tmp_path)["loss"]) == {1, 6}


class SavingListener(v1.train.CheckpointSaverListener):
    def __init__(self, stop_at=None):
        self.calls = []
        self.stop_at = stop_at

    def begin(self):
        self.calls.append("begin")

    def before_save(self, session, global_step_value):
        self.calls.append(("before", global_step_value))

    def after_save(self, session, global_step_value):
        self.calls.append(("after", global_step_value))
        return global_step_value == self.stop_at

    def end(self, session, global_step_value):
        self.calls.append(("end", global_step_value))


def test_listeners_hear_of_checkpoints(tmp_path):
    listener = SavingListener()
    programs.make_estimator(tmp_path).train(programs.input_fn, max_steps=2, saving_listeners=[listener])
    assert listener.calls == ["begin", ("before", 0), ("after", 0), ("before", 2), ("after", 2), ("end", 2)]


def test_a_listener_can_end_training(tmp_path):
    estimator = programs.make_estimator(tmp_path, config={"save_checkpoints_steps": 2})
    estimator.train(programs.input_fn, max_steps=10, saving_listeners=[SavingListener(stop_at=4)])
    assert global_step(estimator) == 4


def test_a_listener_cannot_end_training_before_its_first_step(tmp_path):
    estimator = programs.make_estimator(tmp_path)
    estimator.train(programs.input_fn, max_steps=3, saving_listeners=[SavingListener(stop_at=0)])
    assert global_step(estimator) == 3


def test_the_programs_own_saver_hook_sets_the_cadence(tmp_path):
    listener = SavingListener()
    saver = v1.train.CheckpointSaverHook(str(tmp_path), save_steps=2, listeners=[listener])
    programs.make_estimator(tmp_path).train(programs.input_fn, max_steps=5, hooks=[saver])
    assert [call[1] for call in listener.calls if call[0] == "after"] == [0, 2, 4, 5]


def test_a_scaffolds_init_fn_sets_first_values(tmp_path):
    def model_fn(features, labels, mode, params):
        spec = programs.model_fn(features, labels, mode, params)
        weights = next(variable for variable in v1.trainable_variables() if variable.op.name == "weights")
        assign = weights.assign([7.0, 8.0, 9.0])
        return spec._replace(
            scaffold_fn=lambda: v1.train.Scaffold(init_fn=lambda scaffold, session: session.run(assign))
        )

    programs.make_estimator(tmp_path, model_fn).train(programs.input_fn, max_steps=1)
    np.testing.assert_array_equal(tf.train.load_variable(str(tmp_path / "model.ckpt-0"), "weights"), [7, 8, 9])


def test_the_step_is_counted_by_the_model(tmp_path):
    def model_fn(features, labels, mode, params):
        spec = programs.model_fn(features, labels, mode, params)
        with tf.control_dependencies([spec.train_op]):
            return spec._replace(train_op=v1.train.get_global_step().assign_add(1))

    estimator = programs.make_estimator(tmp_path, model_fn)
    estimator.train(programs.input_fn, max_steps=10)
    assert global_step(estimator) == 10
    assert set(programs.events(tmp_path)["loss"]) == {2, 10}


@pytest.mark.slow
def test_twenty_rounds_of_training_and_evaluation_keep_to_their_memory(tmp_path):
    estimator = programs.make_estimator(tmp_path)

    def resident_mib():
        pages = int(pathlib.Path("/proc/self/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / 2**20

    sizes = []
    for _ in range(20):
        estimator.train(programs.input_fn, steps=5)
        estimator.evaluate(programs.input_fn)
        sizes.append(resident_mib())
    assert sizes[-1] - sizes[4] < 40


def test_a_step_that_does_not_count_itself_is_warned_of(tmp_path, caplog):
    def model_fn(features, labels, mode):
        loss = tf.reduce_mean((programs.predicted(features) - labels) ** 2)
        return EstimatorSpec(mode, loss=loss, train_op=v1.train.GradientDescentOptimizer(0.1).minimize(loss))

    def input_fn():
        return tf.data.Dataset.from_tensors((programs.FEATURES, programs.LABELS)).repeat(150)

    Estimator(model_fn, str(tmp_path)).train(input_fn)
    assert caplog.text.count("the global step is still 0 after 100 runs of the train_op: pass") == 1


def test_a_model_fn_that_fails_leaves_no_variables_without_values(tmp_path):
    def model_fn(features, labels, mode):
        values = programs.predicted(features)
        if mode == ModeKeys.TRAIN:
            raise ValueError("not to be trained")
        return EstimatorSpec(mode, loss=tf.reduce_mean((values - labels) ** 2))

    def input_fn():
        return tf.data.Dataset.from_tensors((programs.FEATURES, programs.LABELS))

    estimator = Estimator(model_fn, str(tmp_path))
    with pytest.raises(ValueError, match="not to be trained"):
        estimator.train(input_fn)
    assert estimator.evaluate(input_fn)["loss"] == pytest.approx((programs.LABELS**2).mean())
