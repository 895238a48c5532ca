"""Batch normalisation: bfloat16 or float32 activations, float32 statistics, two passes over the activations."""

import dataclasses

import tensorflow as tf

from trainer.nn import cross_replica
from trainer.nn.initializers import ones, zeros
from trainer.nn.layers import ForwardPass, Layer


@dataclasses.dataclass(frozen=True)
class BatchNormSettings:
    """`momentum` is the decay of the moving statistics per step; `group_size` replicas share their batch statistics."""

    momentum: float = 0.9
    epsilon: float = 1e-5
    group_size: int = 1


@dataclasses.dataclass(frozen=True)
class _Affine:
    """What follows the normalisation: `outputs = gamma * normalised + beta`, each `[channels]` float32."""

    gamma: tf.Variable
    beta: tf.Variable


class BatchNorm(Layer):
    """Batch normalisation over `[batch, height, width]` (Ioffe and Szegedy 2015, arXiv 1502.03167).

    The moving statistics follow the mean over all replicas of the batch statistics, so that every replica holds the
    same ones. As in TensorFlow's own layer they follow the unbiased variance; a batch is normalised with the biased.
    """

    def __init__(self, settings: BatchNormSettings, *, name: str, is_zero_initialised: bool = False):
        super().__init__(name)
        self._settings = settings
        self._is_zero_initialised = is_zero_initialised

    def call(self, inputs: tf.Tensor, forward: ForwardPass) -> tf.Tensor:
        """Returns `inputs` normalised, in their shape and dtype."""
        shape = [inputs.shape[-1]]
        affine = _Affine(
            gamma=self.variable("gamma", shape, zeros if self._is_zero_initialised else ones, forward),
            beta=self.variable("beta", shape, zeros, forward),
        )
        moving_mean = self.variable("moving_mean", shape, zeros, forward, is_trainable=False)
        moving_variance = self.variable("moving_variance", shape, ones, forward, is_trainable=False)
        if not forward.is_training:
            return self._fused(inputs, affine, (moving_mean, moving_variance))[0]
        if self._settings.group_size == 1:
            outputs, *moments = self._fused(inputs, affine)
        else:
            outputs, *moments = self._grouped(inputs, affine, shift=tf.stop_gradient(moving_mean))
        self._follow((moving_mean, moving_variance), moments)
        return outputs

    def _fused(
        self, inputs: tf.Tensor, affine: _Affine, moments: tuple[tf.Variable, tf.Variable] | None = None
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """Normalises with `moments`, or those of the batch; returns outputs, mean and unbiased variance.

        The raw operation, because its wrapper `tf.nn.fused_batch_norm` raises an epsilon of 1e-5 to 1.001e-5.
        """
        mean, variance = moments or (tf.zeros([0]), tf.zeros([0]))
        outputs, mean, variance, *_ = tf.raw_ops.FusedBatchNormV3(
            x=inputs,
            scale=affine.gamma,
            offset=affine.beta,
            mean=mean,
            variance=variance,
            epsilon=self._settings.epsilon,
            is_training=moments is None,
        )
        return outputs, mean, variance

    def _grouped(self, inputs: tf.Tensor, affine: _Affine, shift: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """As `_fused`, with the statistics of a group of replicas.

        Both moments come from one pass over the activations. `E[x^2] - E[x]^2` cancels when the mean is large beside
        the deviation, so they are taken around `shift`: the moving mean brings the mean close to 0 at no cost.
        """
        centred = tf.cast(inputs, tf.float32) - shift
        local = tf.stack([tf.reduce_mean(centred, [0, 1, 2]), tf.reduce_mean(tf.square(centred), [0, 1, 2])])
        mean, mean_of_squares = tf.unstack(cross_replica.mean_over_group(local, self._settings.group_size))
        variance = tf.maximum(mean_of_squares - tf.square(mean), 0.0)
        scale = affine.gamma * tf.math.rsqrt(variance + self._settings.epsilon)
        outputs = tf.cast(centred * scale + (affine.beta - mean * scale), inputs.dtype)
        count = self._settings.group_size * inputs.shape[:3].num_elements()
        return outputs, mean + shift, variance * (count / max(count - 1, 1))

    def _follow(self, moving: tuple[tf.Variable, tf.Variable], moments: list[tf.Tensor]) -> None:
        rate = 1.0 - self._settings.momentum
        for variable, value in zip(moving, cross_replica.mean_over_replicas(moments), strict=True):
            variable.assign_sub(rate * (variable - value))
