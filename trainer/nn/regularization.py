"""Regularisers that switch activations off at random while training; each is the identity otherwise."""

import dataclasses

import tensorflow as tf

from trainer.nn.layers import ForwardPass
from trainer.nn.random_key import RandomKey


def dropout(inputs: tf.Tensor, rate: float, forward: ForwardPass) -> tf.Tensor:
    """Zeroes each activation with probability `rate` and scales the others to keep the mean."""
    if not forward.is_training or rate == 0.0:
        return inputs
    return _dropped(inputs, rate, forward.key.fold("dropout").uniform(tf.shape(inputs)))


def stochastic_depth(residual: tf.Tensor, rate: float, forward: ForwardPass, name: str) -> tf.Tensor:
    """Zeroes the residual branch of each example with probability `rate` (Huang et al. 2016, arXiv 1603.09382).

    Args:
      residual: `[batch, height, width, channels]`.
      rate: probability of dropping; survivors are scaled to keep the mean.
      forward: the pass.
      name: of the block, so that blocks drop independently.
    """
    if not forward.is_training or rate == 0.0:
        return residual
    key = forward.key.fold("stochastic_depth").fold(name)
    return _dropped(residual, rate, key.uniform([tf.shape(residual)[0], 1, 1, 1]))


def linear_rate(last_rate: float, index: int, count: int) -> float:
    """Returns the drop rate of block `index` (from 0) of `count`: it grows linearly to `last_rate` in the last one."""
    return last_rate * (index + 1) / count


@dataclasses.dataclass(frozen=True)
class DropBlock:
    """Zeroes squares of the feature map, per channel (Ghiasi et al. 2018, arXiv 1810.12890).

    `keep_prob` is reached at the end of training, linearly from 1: early on the network needs what it has.
    """

    keep_prob: float
    block_size: int

    def __call__(self, inputs: tf.Tensor, forward: ForwardPass, name: str) -> tf.Tensor:
        """Returns `inputs`, `[batch, height, width, channels]`, with squares of zeros; the rest is scaled up."""
        if not forward.is_training:
            return inputs
        key = forward.key.fold("dropblock").fold(name)
        drop_prob = tf.cast(forward.progress, tf.float32) * (1.0 - self.keep_prob)
        kept = self._kept_mask(key, inputs, drop_prob)
        share_kept = tf.maximum(tf.reduce_mean(tf.cast(kept, tf.float32)), 1e-6)
        return tf.where(kept, inputs / tf.cast(share_kept, inputs.dtype), tf.zeros_like(inputs))

    def _kept_mask(self, key: RandomKey, inputs: tf.Tensor, drop_prob: tf.Tensor) -> tf.Tensor:
        _, height, width, _ = inputs.shape
        block = min(self.block_size, height, width)
        num_centres = (height - block + 1) * (width - block + 1)
        # So many blocks that, were they disjoint, they would cover `drop_prob` of the map.
        seed_prob = drop_prob * (height * width) / (block**2 * num_centres)
        is_valid = _valid_centres(height, block)[:, tf.newaxis] & _valid_centres(width, block)[tf.newaxis, :]
        is_centre = (key.uniform(tf.shape(inputs)) < seed_prob) & is_valid[tf.newaxis, :, :, tf.newaxis]
        covered = tf.nn.max_pool2d(tf.cast(is_centre, inputs.dtype), block, 1, "SAME")
        return covered < 0.5


def group_keep_prob(keep_prob: float, group: int, num_groups: int) -> float:
    """Returns DropBlock's keep probability in block group `group` (from 1): each group drops a quarter of the next."""
    return 1.0 - (1.0 - keep_prob) / 4.0 ** (num_groups - group)


def _valid_centres(size: int, block: int) -> tf.Tensor:
    """Returns bool `[size]`: where a block fits. "SAME" pooling reaches `(block - 1) // 2` pixels back from a pixel."""
    first = block - 1 - (block - 1) // 2
    positions = tf.range(size)
    return (positions >= first) & (positions < size - (block - 1) // 2)


def _dropped(inputs: tf.Tensor, rate: float, uniform: tf.Tensor) -> tf.Tensor:
    return tf.where(uniform >= rate, inputs / tf.cast(1.0 - rate, inputs.dtype), tf.zeros_like(inputs))
