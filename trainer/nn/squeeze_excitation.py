"""Squeeze-and-excitation: channels weighted by what the whole image shows (Hu et al. 2018, arXiv 1709.01507)."""

import tensorflow as tf

from trainer.nn.layers import Dense, ForwardPass, Layer, global_average_pool


class SqueezeExcitation(Layer):
    """Multiplies each of `num_channels` by a gate in (0, 1) that two dense layers compute from the channel means.

    `ratio` is the width of the bottleneck between the two as a share of the channels.
    """

    def __init__(self, num_channels: int, ratio: float, *, name: str):
        super().__init__(name)
        self._reduce = Dense(max(1, round(num_channels * ratio)), name="reduce")
        self._expand = Dense(num_channels, name="expand")

    def call(self, inputs: tf.Tensor, forward: ForwardPass) -> tf.Tensor:
        """Returns `[batch, height, width, channels]`, gated; the gate is computed in float32."""
        squeezed = tf.nn.relu(self._reduce(global_average_pool(inputs), forward))
        gate = tf.sigmoid(self._expand(squeezed, forward))
        return inputs * tf.cast(gate, inputs.dtype)[:, tf.newaxis, tf.newaxis, :]
