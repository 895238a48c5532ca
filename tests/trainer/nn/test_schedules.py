import math

import pytest
import tensorflow as tf

from trainer.nn.schedules import Schedule


def rates(schedule, steps):
    return [float(schedule(step)) for step in steps]


def test_warmup_rises_linearly_and_ends_at_the_peak():
    schedule = Schedule("constant", peak=2.0, steps_per_epoch=10, train_epochs=5, warmup_epochs=1)
    assert rates(schedule, [0, 4, 9, 10, 49]) == pytest.approx([0.2, 1.0, 2.0, 2.0, 2.0])


def test_cosine_falls_from_the_peak_to_zero():
    schedule = Schedule("cosine", peak=2.0, steps_per_epoch=10, train_epochs=5, warmup_epochs=1)
    expected = [2.0, 1 + math.cos(math.pi / 4), 1.0, 0.0, 0.0]
    assert rates(schedule, [10, 20, 30, 50, 60]) == pytest.approx(expected, abs=1e-6)


def test_stepwise_decays_at_the_start_of_each_listed_epoch():
    schedule = Schedule(
        "stepwise", peak=1.0, steps_per_epoch=2.5, train_epochs=9, decay_epochs=(2, 4), decay_factor=0.1
    )
    assert rates(schedule, [0, 4, 5, 9, 10, 99]) == pytest.approx([1, 1, 0.1, 0.1, 0.01, 0.01])


def test_stepwise_without_epochs_is_constant():
    assert rates(Schedule("stepwise", peak=1.0, steps_per_epoch=2, train_epochs=9), [0, 99]) == [1.0, 1.0]


def test_a_training_shorter_than_its_warmup_only_warms_up():
    schedule = Schedule("cosine", peak=1.0, steps_per_epoch=10, train_epochs=1, warmup_epochs=2)
    assert rates(schedule, [0, 9]) == pytest.approx([0.05, 0.5])


def test_the_step_may_be_an_int64_tensor_of_a_program():
    schedule = Schedule("cosine", peak=1.0, steps_per_epoch=10, train_epochs=4)
    rate = tf.function(schedule)(tf.constant(20, tf.int64))
    assert rate.dtype == tf.float32
    assert float(rate) == pytest.approx(0.5)


@pytest.mark.parametrize(("kind", "steps_per_epoch"), [("exponential", 1.0), ("cosine", 0.0)])
def test_impossible_schedules_are_refused(kind, steps_per_epoch):
    with pytest.raises(ValueError, match=r"unknown schedule 'exponential'|steps_per_epoch is 0.0"):
        Schedule(kind, peak=1.0, steps_per_epoch=steps_per_epoch, train_epochs=1)
