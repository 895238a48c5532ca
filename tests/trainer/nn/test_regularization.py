import numpy as np
import pytest
import tensorflow as tf

from trainer.nn import regularization
from trainer.nn.layers import ForwardPass
from trainer.nn.random_key import RandomKey
from trainer.nn.regularization import DropBlock

TRAINING = ForwardPass(is_training=True, key=RandomKey(0))
INFERENCE = ForwardPass(is_training=False, key=RandomKey(0))
ONES = tf.ones([64, 12, 12, 8])

REGULARIZERS = {
    "dropout": lambda inputs, forward: regularization.dropout(inputs, 0.25, forward),
    "stochastic_depth": lambda inputs, forward: regularization.stochastic_depth(inputs, 0.25, forward, "block1"),
    "dropblock": lambda inputs, forward: DropBlock(0.75, 3)(inputs, forward, "block1"),
}


@pytest.fixture(params=REGULARIZERS)
def regularize(request):
    return REGULARIZERS[request.param]


def test_inference_changes_nothing(regularize):
    np.testing.assert_array_equal(regularize(ONES, INFERENCE), ONES)


def test_about_a_quarter_is_dropped_and_the_mean_is_kept(regularize):
    outputs = regularize(ONES, TRAINING).numpy()
    assert np.mean(outputs == 0) == pytest.approx(0.25, abs=0.08)
    assert outputs.mean() == pytest.approx(1.0, abs=0.12)


def test_equal_keys_drop_the_same_and_other_steps_others(regularize):
    def at_step(step):
        return regularize(ONES, ForwardPass(is_training=True, key=RandomKey(0, step))).numpy()

    np.testing.assert_array_equal(at_step(1), at_step(1))
    assert np.any(at_step(1) != at_step(2))


def test_the_dtype_is_kept(regularize):
    assert regularize(tf.cast(ONES, tf.bfloat16), TRAINING).dtype == tf.bfloat16


def test_stochastic_depth_drops_whole_examples():
    outputs = REGULARIZERS["stochastic_depth"](ONES, TRAINING).numpy()
    per_example = outputs.reshape(64, -1)
    assert np.all(per_example == per_example[:, :1])


def test_blocks_of_other_names_drop_other_examples():
    first, second = (regularization.stochastic_depth(ONES, 0.25, TRAINING, name) for name in ("block1", "block2"))
    assert np.any(first != second)


def test_drop_rates_grow_linearly_to_the_last_block():
    assert [regularization.linear_rate(0.2, index, 4) for index in range(4)] == pytest.approx([0.05, 0.1, 0.15, 0.2])


@pytest.mark.parametrize("block_size", [1, 2, 3, 5, 12, 20])
def test_dropblock_drops_whole_squares_inside_the_image(block_size):
    dropped = DropBlock(0.97, block_size)(tf.ones([16, 12, 12, 4]), TRAINING, "block1").numpy() == 0
    size = min(block_size, 12)
    squares = tf.nn.max_pool2d(
        tf.nn.erosion2d(
            dropped.astype(np.float32), tf.zeros([size, size, 4]), [1, 1, 1, 1], "VALID", "NHWC", [1, 1, 1, 1]
        ),
        1,
        1,
        "VALID",
    ).numpy()
    covered = np.zeros_like(dropped)
    for example, row, column, channel in np.argwhere(squares == 1):
        covered[example, row : row + size, column : column + size, channel] = True
    assert dropped.any()
    np.testing.assert_array_equal(dropped, covered)


def test_dropblock_follows_the_progress_of_training():
    def dropped(progress):
        forward = ForwardPass(is_training=True, key=RandomKey(0), progress=progress)
        return np.mean(DropBlock(0.8, 3)(ONES, forward, "block1").numpy() == 0)

    assert dropped(0.0) == 0
    assert dropped(0.5) == pytest.approx(0.1, abs=0.02)
    assert dropped(1.0) == pytest.approx(0.2, abs=0.03)


def test_each_group_drops_a_quarter_of_the_next():
    assert regularization.group_keep_prob(0.9, 4, 4) == pytest.approx(0.9)
    assert regularization.group_keep_prob(0.9, 3, 4) == pytest.approx(0.975)
