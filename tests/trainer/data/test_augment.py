import numpy as np
import pytest
import tensorflow as tf

from trainer.config import ExperimentConfig
from trainer.data.augment import augment

IMAGE = np.random.default_rng(0).integers(0, 256, (8, 10, 3), dtype=np.uint8)


def augmented(num_positions=40, seed=0, **settings):
    config = ExperimentConfig().replace(**settings).input
    change = tf.function(lambda position: augment(tf.constant(IMAGE), config, seed, position))
    return [change(tf.constant(position, tf.int64)).numpy() for position in range(num_positions)]


def test_about_half_of_the_images_are_mirrored():
    results = augmented()
    mirrored = [np.array_equal(result, IMAGE[:, ::-1]) for result in results]
    assert all(np.array_equal(result, IMAGE) for result, flag in zip(results, mirrored, strict=True) if not flag)
    assert 10 <= sum(mirrored) <= 30


def test_nothing_changes_without_settings():
    assert all(np.array_equal(result, IMAGE) for result in augmented(horizontal_flip=False))


@pytest.mark.parametrize("settings", [{}, pytest.param({"randaugment_num_layers": 2}, marks=pytest.mark.slow)])
def test_equal_seed_and_position_give_equal_images(settings):
    np.testing.assert_array_equal(augmented(**settings), augmented(**settings))
    assert not np.array_equal(augmented(**settings), augmented(seed=1, **settings))


def test_randaugment_is_applied():
    results = augmented(horizontal_flip=False, randaugment_num_layers=2)
    assert len({result.tobytes() for result in results}) > 20
