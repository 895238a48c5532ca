import os
import pathlib
import signal
import subprocess
import sys
import textwrap

import numpy as np
import pytest
import tensorflow as tf

from trainer.errors import UserError
from trainer.estimator import ModeKeys, ProgressHook, WarmStartSettings, checkpoints
from trainer.estimator.checkpointer import NanLossError

from . import programs

v1 = tf.compat.v1
ROOT = pathlib.Path(__file__).resolve().parents[3]


def final_values(estimator):
    return checkpoints.read(estimator.latest_checkpoint())


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


@pytest.mark.parametrize("config", [{"save_checkpoints_steps": 3, "keep_checkpoint_max": 2}])
def test_checkpoints_follow_their_cadence(tmp_path, config):
    programs.make_estimator(tmp_path, config=config).train(programs.input_fn, max_steps=7)
    assert sorted(path.stem for path in tmp_path.glob("*.index")) == ["model.ckpt-6", "model.ckpt-7"]


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


class Interrupt(v1.train.SessionRunHook):
    """Ends training in the middle, as a crash does."""

    def __init__(self, num_steps):
        self.num_steps = num_steps

    def after_run(self, run_context, run_values):
        self.num_steps -= 1
        if not self.num_steps:
            raise ConnectionError("the machine is gone")


def train_with_dropout(model_dir, **arguments):
    config = {"save_checkpoints_steps": 4, "keep_checkpoint_max": 20}
    warm_start_from = arguments.pop("warm_start_from", None)
    estimator = programs.make_estimator(
        model_dir, programs.named_loss_model_fn, config=config, warm_start_from=warm_start_from
    )
    recorder = programs.loss_recorder()
    hooks = [recorder, *arguments.pop("hooks", ())]
    try:
        estimator.train(programs.input_fn, hooks=hooks, **arguments)
    except ConnectionError:
        assert hooks[1:]
    return estimator, recorder.losses


def test_a_resumed_training_equals_an_uninterrupted_one_bit_for_bit(tmp_path):
    whole, losses = train_with_dropout(tmp_path / "whole", max_steps=20)
    _, before = train_with_dropout(tmp_path / "resumed", max_steps=20, hooks=[Interrupt(10)])
    resumed, after = train_with_dropout(tmp_path / "resumed", max_steps=20)
    assert len(after) == 12
    np.testing.assert_array_equal(before, losses[:10])
    np.testing.assert_array_equal(after, losses[8:])
    expected, found = final_values(whole), final_values(resumed)
    assert set(expected) == {"weights", "weights/Momentum", "global_step"}
    for name, value in expected.items():
        np.testing.assert_array_equal(found[name], value)


@pytest.mark.slow
def test_an_interruption_of_an_interrupted_training(tmp_path):
    _, losses = train_with_dropout(tmp_path / "whole", max_steps=20)
    for num_steps in (6, 5):
        train_with_dropout(tmp_path / "resumed", max_steps=20, hooks=[Interrupt(num_steps)])
    _, after = train_with_dropout(tmp_path / "resumed", max_steps=20)
    np.testing.assert_array_equal(after, losses[-len(after) :])


@pytest.mark.slow
def test_a_warm_start_with_a_step_is_resumed_bit_for_bit(tmp_path):
    train_with_dropout(tmp_path / "other", max_steps=10)
    arguments = {"max_steps": 30, "warm_start_from": WarmStartSettings(str(tmp_path / "other"), [".*"])}
    _, losses = train_with_dropout(tmp_path / "whole", **arguments)
    assert len(losses) == 20
    train_with_dropout(tmp_path / "resumed", hooks=[Interrupt(10)], **arguments)
    _, after = train_with_dropout(tmp_path / "resumed", **arguments)
    np.testing.assert_array_equal(after, losses[8:])


def test_an_input_fn_may_start_where_it_is_told(tmp_path):
    starts = []

    def input_fn(params, start_step):
        starts.append(start_step)
        return programs.input_fn(ModeKeys.TRAIN, params)

    for max_steps in (3, 5):
        programs.make_estimator(tmp_path).train(input_fn, max_steps=max_steps)
    assert starts == [0, 3]
    settings = WarmStartSettings(str(tmp_path), ["weights", "global_step"])
    programs.make_estimator(tmp_path / "warm", warm_start_from=settings).train(input_fn, max_steps=6)
    # Its step is known only when its variables are there.
    assert starts[2:] == [0, 5]


def test_data_may_start_over_instead(tmp_path):
    arguments = {"config": {"save_checkpoints_steps": 2, "resume_input": False}}
    with pytest.raises(ConnectionError):
        programs.make_estimator(tmp_path, **arguments).train(once, hooks=[Interrupt(2)])
    estimator = programs.make_estimator(tmp_path, **arguments)
    estimator.train(once)
    assert global_step(estimator) in (3, 5)


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
    assert set(found["loss"]) == {2, 4, 5}
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
    assert set(programs.events(tmp_path)["loss"]) == {10}


SCRIPT = """
import sys
import time
import tensorflow as tf
from tests.trainer.estimator import programs

class Slow(tf.compat.v1.train.SessionRunHook):
    def after_run(self, run_context, run_values):
        print("step", flush=True)
        time.sleep(0.02)

config = {"save_checkpoints_steps": 5, "keep_checkpoint_max": 3}
estimator = programs.make_estimator(sys.argv[1], programs.named_loss_model_fn, config=config)
estimator.train(programs.input_fn, max_steps=int(sys.argv[2]), hooks=[Slow()])
"""


def start_training(model_dir, max_steps):
    arguments = [sys.executable, "-c", textwrap.dedent(SCRIPT), str(model_dir), str(max_steps)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)


def wait_for_steps(process, num_steps):
    for _ in range(num_steps):
        assert process.stdout.readline() == "step\n", process.stderr.read()


@pytest.mark.slow
@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, -signal.SIGINT)])
def test_a_signal_saves_and_stops(tmp_path, number, status):
    process = start_training(tmp_path, 100000)
    wait_for_steps(process, 8)
    process.send_signal(number)
    process.communicate(timeout=60)
    assert process.returncode == status
    step = checkpoints.step_of(programs.make_estimator(tmp_path).latest_checkpoint())
    assert step >= 8
    assert step % 5 or step > 8


@pytest.mark.slow
def test_killed_training_continues_as_if_nothing_had_happened(tmp_path):
    process = start_training(tmp_path / "killed", 60)
    wait_for_steps(process, 23)
    process.kill()
    process.communicate(timeout=60)
    resumed, _ = _train_to_60(tmp_path / "killed")
    whole, _ = _train_to_60(tmp_path / "whole")
    for name, value in final_values(whole).items():
        np.testing.assert_array_equal(final_values(resumed)[name], value)


def _train_to_60(model_dir):
    return train_with_dropout(model_dir, max_steps=60)


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


def truncate(path):
    path.write_bytes(path.read_bytes()[:-4])


def flip_a_bit(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("damage", [truncate, flip_a_bit, lambda path: path.unlink()], ids=["truncated", "bit", "gone"])
def test_training_goes_on_from_the_last_good_checkpoint(tmp_path, damage):
    train_with_dropout(tmp_path, max_steps=8)
    damage(tmp_path / "model.ckpt-8.data-00000-of-00001")
    (tmp_path / "checkpoint").write_text("garbage")
    resumed, losses = train_with_dropout(tmp_path, max_steps=12)
    assert len(losses) == 8
    assert global_step(resumed) == 12
    assert sorted(path.stem for path in tmp_path.glob("*.index")) == [f"model.ckpt-{step}" for step in (0, 12, 4, 8)]
