"""Batch normalisation: bfloat16 or float32 activations, float32 statistics, two passes over the activations."""

import dataclasses

import tensorflow as tf

from trainer.nn import cross_replica
from trainer.nn.initializers import ones, zeros
from trainer.nn.layers import ForwardPass, Layer


@dataclasses.dataclass(frozen=True)
class BatchNormSettings:
    """How to normalise.

    Fields:
      momentum: decay of the moving statistics per step.
      epsilon: added to the variance.
      group_size: replicas that share their batch statistics.
      from_inputs: take the statistics of a widening 1x1 convolution from its inputs (see `pointwise`).
    """

    momentum: float = 0.9
    epsilon: float = 1e-5
    group_size: int = 1
    from_inputs: bool = False


@dataclasses.dataclass(frozen=True)
class Moments:
    """Mean and (biased) variance over `count` pixels, each `[channels]` float32."""

    mean: tf.Tensor
    variance: tf.Tensor
    count: int

    @property
    def unbiased_variance(self) -> tf.Tensor:
        """The estimate for the population."""
        return self.variance * (self.count / max(self.count - 1, 1))


@dataclasses.dataclass(frozen=True)
class _Parameters:
    """`outputs = gamma * normalised + beta`, and (moving mean, moving variance); each `[channels]` float32."""

    gamma: tf.Variable
    beta: tf.Variable
    moving: tuple[tf.Variable, tf.Variable]


class BatchNorm(Layer):
    """Batch normalisation over `[batch, height, width]` (Ioffe and Szegedy 2015, arXiv 1502.03167).

    The moving statistics follow the mean over all replicas of the batch statistics, so that every replica holds the
    same ones. As in TensorFlow's own layer they follow the unbiased variance; a batch is normalised with the biased.
    """

    def __init__(self, settings: BatchNormSettings, *, name: str, is_zero_initialised: bool = False):
        super().__init__(name)
        self.settings = settings
        self._is_zero_initialised = is_zero_initialised

    def call(self, inputs: tf.Tensor, forward: ForwardPass) -> tf.Tensor:
        """Returns `inputs` normalised, in their shape and dtype."""
        parameters = self._parameters(inputs.shape[-1], forward)
        if not forward.is_training:
            return self._fused(inputs, parameters, parameters.moving)[0]
        if self.settings.group_size == 1:
            outputs, *moments = self._fused(inputs, parameters)
        else:
            outputs, *moments = self._grouped(inputs, parameters)
        self._follow(parameters, moments)
        return outputs

    def with_moments(self, moments: Moments, forward: ForwardPass) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns (scale, beta) for a training batch of these moments: `outputs = scale * (inputs - mean) + beta`.

        Within the layer's scope. For those who compute the moments themselves; the moving statistics follow them.
        """
        parameters = self._parameters(moments.mean.shape[0], forward)
        self._follow(parameters, [moments.mean, moments.unbiased_variance])
        return parameters.gamma * tf.math.rsqrt(moments.variance + self.settings.epsilon), tf.identity(parameters.beta)

    def _parameters(self, num_channels: int, forward: ForwardPass) -> _Parameters:
        shape = [num_channels]
        return _Parameters(
            gamma=self.variable("gamma", shape, zeros if self._is_zero_initialised else ones, forward),
            beta=self.variable("beta", shape, zeros, forward),
            moving=(
                self.variable("moving_mean", shape, zeros, forward, is_trainable=False),
                self.variable("moving_variance", shape, ones, forward, is_trainable=False),
            ),
        )

    def _fused(
        self, inputs: tf.Tensor, parameters: _Parameters, moments: tuple[tf.Variable, tf.Variable] | None = None
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """Normalises with `moments`, or those of the batch; returns outputs, mean and unbiased variance.

        The raw operation, because its wrapper `tf.nn.fused_batch_norm` raises an epsilon of 1e-5 to 1.001e-5.
        """
        mean, variance = moments or (tf.zeros([0]), tf.zeros([0]))
        outputs, mean, variance, *_ = tf.raw_ops.FusedBatchNormV3(
            x=inputs,
            scale=parameters.gamma,
            offset=parameters.beta,
            mean=mean,
            variance=variance,
            epsilon=self.settings.epsilon,
            is_training=moments is None,
        )
        return outputs, mean, variance

    def _grouped(self, inputs: tf.Tensor, parameters: _Parameters) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """As `_fused`, with the statistics of a group of replicas.

        Both moments come from one pass over the activations. `E[x^2] - E[x]^2` cancels when the mean is large beside
        the deviation, so they are taken around a shift: the moving mean brings the mean close to 0 at no cost.
        """
        shift = tf.stop_gradient(parameters.moving[0])
        centred = tf.cast(inputs, tf.float32) - shift
        local = tf.stack([tf.reduce_mean(centred, [0, 1, 2]), tf.reduce_mean(tf.square(centred), [0, 1, 2])])
        mean, mean_of_squares = tf.unstack(cross_replica.mean_over_group(local, self.settings.group_size))
        count = self.settings.group_size * inputs.shape[:3].num_elements()
        moments = Moments(mean + shift, tf.maximum(mean_of_squares - tf.square(mean), 0.0), count)
        scale = parameters.gamma * tf.math.rsqrt(moments.variance + self.settings.epsilon)
        outputs = tf.cast(centred * scale + (parameters.beta - mean * scale), inputs.dtype)
        return outputs, moments.mean, moments.unbiased_variance

    def _follow(self, parameters: _Parameters, moments: list[tf.Tensor]) -> None:
        rate = 1.0 - self.settings.momentum
        for variable, value in zip(parameters.moving, cross_replica.mean_over_replicas(moments), strict=True):
            variable.assign_sub(rate * (variable - value))
