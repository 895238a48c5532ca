"""What the programs use of `tf.contrib.layers`: layer normalisation, initialisers and regularisers."""

from collections.abc import Callable
from typing import Any

import tensorflow as tf

# A truncated normal distribution is narrower than the normal one that it is cut from, by this factor; contrib made up
# for it by 1.3 in the variance, today's initialisers do so exactly.
_TRUNCATED_STDDEV = 0.87962566103423978
_CONTRIB_TRUNCATION = 1.3 * _TRUNCATED_STDDEV**2


def layer_norm(  # noqa: PLR0913, PLR0917 - the signature that programs rely on
    inputs: tf.Tensor,
    center: bool = True,
    scale: bool = True,
    activation_fn: Callable[[tf.Tensor], tf.Tensor] | None = None,
    reuse: bool | None = None,
    variables_collections: Any = None,
    outputs_collections: Any = None,
    trainable: bool = True,
    begin_norm_axis: int = 1,
    begin_params_axis: int = -1,
    scope: Any = None,
) -> tf.Tensor:
    """Normalises each example over the axes from `begin_norm_axis` on (Ba et al., 2016).

    Args:
      inputs: float tensor `[batch, ...]`; the sizes of the axes from `begin_params_axis` on are known.
      center, scale: whether there are the variables `beta` and `gamma`, shaped as those axes.
      activation_fn: applied to the result.
      reuse: as in `tf.compat.v1.variable_scope`.
      variables_collections, outputs_collections: not supported.
      trainable: of the variables.
      begin_norm_axis, begin_params_axis: see above.
      scope: variable scope, `LayerNorm` by default.
    """
    if variables_collections is not None or outputs_collections is not None:
        raise ValueError("layer_norm: variables_collections and outputs_collections are not supported; leave them out")
    with tf.compat.v1.variable_scope(scope, "LayerNorm", [inputs], reuse=reuse):
        shape = inputs.shape[begin_params_axis:]
        beta = _parameter("beta", shape, 0.0, inputs.dtype, trainable) if center else None
        gamma = _parameter("gamma", shape, 1.0, inputs.dtype, trainable) if scale else None
        axes = list(range(begin_norm_axis % inputs.shape.rank, inputs.shape.rank))
        mean, variance = tf.nn.moments(inputs, axes, keepdims=True)
        epsilon = 1e-3 if inputs.dtype == tf.float16 else 1e-12
        outputs = tf.nn.batch_normalization(inputs, mean, variance, beta, gamma, epsilon)
        outputs.set_shape(inputs.shape)
        return outputs if activation_fn is None else activation_fn(outputs)


def _parameter(name: str, shape: Any, value: float, dtype: Any, trainable: bool) -> Any:
    initializer = tf.compat.v1.constant_initializer(value)
    return tf.compat.v1.get_variable(name, shape, dtype.base_dtype, initializer, trainable=trainable)


def variance_scaling_initializer(
    factor: float = 2.0, mode: str = "FAN_IN", uniform: bool = False, seed: int | None = None, dtype: Any = tf.float32
) -> Any:
    """Returns an initialiser of variance `factor` / fan, in contrib's scale (He et al., 2015 by default)."""
    scale = factor if uniform else factor * _CONTRIB_TRUNCATION
    distribution = "uniform" if uniform else "truncated_normal"
    return tf.compat.v1.variance_scaling_initializer(scale, mode.lower(), distribution, seed, dtype)


def xavier_initializer(uniform: bool = True, seed: int | None = None, dtype: Any = tf.float32) -> Any:
    """Returns an initialiser that keeps the scale of gradients over layers (Glorot and Bengio, 2010)."""
    return variance_scaling_initializer(1.0, "FAN_AVG", uniform, seed, dtype)


def l1_regularizer(scale: float, scope: str | None = None) -> Callable[[Any], tf.Tensor | None]:
    """Returns a function of weights: `scale` times the sum of their absolute values; None for scale 0."""
    return _regularizer(scale, scope or "l1_regularizer", lambda weights: tf.reduce_sum(tf.abs(weights)))


def l2_regularizer(scale: float, scope: str | None = None) -> Callable[[Any], tf.Tensor | None]:
    """Returns a function of weights: `scale` times half the sum of their squares; None for scale 0."""
    return _regularizer(scale, scope or "l2_regularizer", tf.nn.l2_loss)


def _regularizer(scale: float, name: str, penalty: Callable[[Any], tf.Tensor]) -> Callable[[Any], tf.Tensor | None]:
    if scale < 0:
        raise ValueError(f"{name}: the scale must not be negative, got {scale}")
    if scale == 0:
        return lambda weights: None

    def regularize(weights: Any) -> tf.Tensor:
        with tf.name_scope(name):
            return scale * penalty(weights)

    return regularize
