"""A training that was interrupted, killed or damaged goes on where it was."""

import os
import pathlib
import signal
import subprocess
import sys
import textwrap

import numpy as np
import pytest
import tensorflow as tf

from trainer.estimator import InputPipelineConfig, ModeKeys, TPUConfig, WarmStartSettings, checkpoints

from . import programs

v1 = tf.compat.v1
ROOT = pathlib.Path(__file__).resolve().parents[3]


def final_values(estimator):
    return checkpoints.read(estimator.latest_checkpoint())


def global_step(estimator):
    return int(estimator.get_variable_value("global_step"))


def once(params):
    return programs.input_fn(ModeKeys.EVAL, params)


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


@pytest.mark.parametrize("look", [lambda one: one.evaluate(once), lambda one: list(one.predict(once))])
def test_who_looks_at_a_checkpoint_first_trains_on_with_all_of_it(tmp_path, look):
    """Only training has the optimizer's variables: what an evaluation has loaded is not the whole checkpoint."""
    for name in ("looked", "not"):
        programs.make_estimator(tmp_path / name).train(programs.input_fn, max_steps=3)
    looked, other = (programs.make_estimator(tmp_path / name) for name in ("looked", "not"))
    look(looked)
    expected, found = (final_values(one.train(programs.input_fn, max_steps=6)) for one in (other, looked))
    for name, value in expected.items():
        np.testing.assert_array_equal(found[name], value)


@pytest.mark.parametrize(
    "pipeline",
    [
        InputPipelineConfig.PER_HOST_V2,
        *(
            pytest.param(pipeline, marks=pytest.mark.slow)
            for pipeline in (
                InputPipelineConfig.PER_HOST_V1,
                InputPipelineConfig.PER_SHARD_V1,
                InputPipelineConfig.BROADCAST,
            )
        ),
    ],
)
def test_a_resumed_training_on_replicas_reads_on_where_it_was(tmp_path, pipeline):
    config = {"master": "mock:2", "tpu_config": TPUConfig(per_host_input_for_training=pipeline)}
    arguments = {"use_tpu": True, "config": {**config, "save_checkpoints_steps": 2}}
    whole = programs.make_estimator(tmp_path / "whole", **arguments).train(programs.input_fn, max_steps=7)
    with pytest.raises(ConnectionError):
        resumed = programs.make_estimator(tmp_path / "resumed", **arguments)
        resumed.train(programs.input_fn, max_steps=7, hooks=[Interrupt(5)])
    resumed = programs.make_estimator(tmp_path / "resumed", **arguments).train(programs.input_fn, max_steps=7)
    for name, value in final_values(whole).items():
        np.testing.assert_array_equal(final_values(resumed)[name], value)


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
