import numpy as np
import pytest
import tensorflow as tf

from trainer.nn.random_key import RandomKey

KEY = RandomKey(seed=3, step=5, replica=1).fold("dropout")


def test_equal_keys_give_equal_numbers():
    np.testing.assert_array_equal(KEY.uniform([4]), RandomKey(3, 5, 1).fold("dropout").uniform([4]))


@pytest.mark.parametrize(
    "other",
    [
        RandomKey(4, 5, 1).fold("dropout"),
        RandomKey(3, 6, 1).fold("dropout"),
        RandomKey(3, 5, 2).fold("dropout"),
        RandomKey(3, 5, 1).fold("mixup"),
        RandomKey(3, 5, 1).fold("dropout").fold("block1"),
    ],
)
def test_each_part_of_a_key_changes_the_numbers(other):
    assert not np.any(KEY.uniform([4]) == other.uniform([4]))


def test_step_may_be_a_tensor_of_the_program():
    drawn = tf.function(lambda step: RandomKey(3, step, 1).fold("dropout").uniform([4]))(tf.constant(5, tf.int64))
    np.testing.assert_array_equal(KEY.uniform([4]), drawn)


def test_replicas_do_not_share_numbers_within_a_million_steps():
    words = {tuple(RandomKey(0, step, replica)._words().numpy()) for step in (0, 1, 2**20 - 1) for replica in range(8)}
    assert len(words) == 3 * 8


def test_normal_has_the_standard_deviation_asked_for():
    drawn = KEY.normal([10_000], stddev=0.5).numpy()
    assert drawn.std() == pytest.approx(0.5, rel=0.05)
    assert drawn.mean() == pytest.approx(0.0, abs=0.02)
