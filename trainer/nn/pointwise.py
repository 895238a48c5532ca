"""A 1x1 convolution and its batch normalisation in one pass, its statistics taken from the convolution's input.

The outputs `y = x W` of a 1x1 convolution are linear in its inputs, so their statistics follow from the inputs':
`mean(y) = mean(x) W` and `var(y) = diag(W' cov(x) W)`. Scale and offset are then known before the convolution runs, and
what it writes is normalised. Its plain outputs are neither written, nor read for statistics, nor kept for the backward
pass; where it widens (64 channels to 256, say), they are by far the larger side. The price is the covariance:
`channels / filters` of the convolution's own arithmetic, once forward and once backward.
"""

from collections.abc import Callable

import tensorflow as tf

from trainer.nn.layers import Conv2D, ForwardPass
from trainer.nn.normalization import BatchNorm, Moments

# A float32 number is the sum of three bfloat16 numbers; these are the bits that the first of them keeps.
_NUM_BFLOAT16_PARTS = 3
_BFLOAT16_BITS = -0x10000


def normalised(inputs: tf.Tensor, convolution: Conv2D, norm: BatchNorm, forward: ForwardPass) -> tf.Tensor:
    """Returns `norm(convolution(inputs))`, in one pass where the norm asks for it and the convolution widens.

    Variables are those of the two layers; so are outputs, gradients and moving statistics, up to rounding, which grows
    in the kernel's bfloat16 gradient where the gradients that arrive have a mean near their deviation. Statistics that
    replicas share are taken from the outputs.
    """
    shape, settings = convolution.shape, norm.settings
    widens = shape.kernel_size == shape.strides == shape.num_groups == 1 and shape.filters > inputs.shape[-1]
    if not (settings.from_inputs and settings.group_size == 1 and forward.is_training and widens):
        return norm(convolution(inputs, forward), forward)
    with convolution.scope():
        kernel = convolution.kernel(inputs, forward)
    with norm.scope():
        input_mean, covariance = _mean_and_covariance(inputs)
        moments = _output_moments(input_mean, covariance, kernel, count=inputs.shape[:3].num_elements())
        scale, beta = norm.with_moments(moments, forward)
        kernel = tf.cast(tf.cast(kernel, tf.float32) * scale, kernel.dtype)
    with convolution.scope():
        return tf.cast(_centred_convolution(inputs, kernel, input_mean) + beta, inputs.dtype)


def _output_moments(input_mean: tf.Tensor, covariance: tf.Tensor, kernel: tf.Tensor, count: int) -> Moments:
    matrix = tf.cast(kernel[0, 0], tf.float32)
    variance = tf.maximum(_quadratic_forms(covariance, matrix), 0.0)
    return Moments(_product(input_mean, kernel), variance, count)


def _product(vector: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
    """Returns `vector @ kernel[0, 0]`, float32 `[filters]`; not by a matrix unit, which would round it."""
    return tf.reduce_sum(vector[:, None] * tf.cast(kernel[0, 0], tf.float32), axis=0)


@tf.custom_gradient
def _centred_convolution(
    inputs: tf.Tensor, kernel: tf.Tensor, mean: tf.Tensor
) -> tuple[tf.Tensor, Callable[[tf.Tensor], tuple[tf.Tensor, tf.Tensor, tf.Tensor]]]:
    """Returns `(inputs - mean) @ kernel`, float32 `[batch, height, width, filters]`; the inputs need no centred copy.

    The mean is multiplied with the kernel as it is rounded, so that the rounding shifts no output. The kernel's
    gradient is that of the centred inputs: `sum(x dy) - mean sum(dy)`, in bfloat16, would cancel where `dy` has a mean.
    """
    outputs = tf.cast(tf.nn.conv2d(inputs, kernel, 1, "VALID"), tf.float32) - _product(mean, kernel)

    def gradient(gradients: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        rounded = tf.cast(gradients, inputs.dtype)
        centred = tf.cast(tf.cast(inputs, tf.float32) - mean, inputs.dtype)
        sums = tf.reduce_sum(gradients, axis=[0, 1, 2])
        matrix = tf.cast(kernel[0, 0], tf.float32)
        return (
            tf.raw_ops.Conv2DBackpropInput(
                input_sizes=tf.shape(inputs),
                filter=kernel,
                out_backprop=rounded,
                strides=[1, 1, 1, 1],
                padding="VALID",
            ),
            tf.raw_ops.Conv2DBackpropFilter(
                input=centred,
                filter_sizes=tf.shape(kernel),
                out_backprop=rounded,
                strides=[1, 1, 1, 1],
                padding="VALID",
            ),
            -tf.reduce_sum(matrix * sums, axis=1),
        )

    return outputs, gradient


@tf.custom_gradient
def _mean_and_covariance(inputs: tf.Tensor) -> tuple[tuple[tf.Tensor, tf.Tensor], Callable[..., tf.Tensor]]:
    """Returns float32 `[channels]` and `[channels, channels]` over all pixels of all images.

    Around the mean: `E[x x'] - E[x] E[x]'` would cancel where the mean is large beside the deviation.
    """
    count = inputs.shape[:3].num_elements()
    mean = tf.reduce_mean(tf.cast(inputs, tf.float32), axis=[0, 1, 2])
    centred = tf.cast(tf.cast(inputs, tf.float32) - mean, inputs.dtype)
    widened = tf.cast(centred, tf.float32)
    covariance = tf.einsum("bhwi,bhwj->ij", widened, widened) / count

    def gradient(mean_gradient: tf.Tensor, covariance_gradient: tf.Tensor) -> tf.Tensor:
        # The centred inputs sum to 0: nothing flows through the mean inside the covariance.
        kernel = (covariance_gradient + tf.transpose(covariance_gradient)) / count
        product = tf.nn.conv2d(centred, tf.cast(kernel, inputs.dtype)[None, None], 1, "VALID")
        return tf.cast(tf.cast(product, tf.float32) + mean_gradient / count, inputs.dtype)

    return (mean, covariance), gradient


@tf.custom_gradient
def _quadratic_forms(
    covariance: tf.Tensor, kernel: tf.Tensor
) -> tuple[tf.Tensor, Callable[[tf.Tensor], tuple[tf.Tensor, tf.Tensor]]]:
    """Returns `kernel[:, f]' covariance kernel[:, f]` for each filter, float32 `[filters]`.

    The terms cancel where channels are correlated. Matrix units round float32 to bfloat16 unless told otherwise, so
    the covariance is multiplied in parts that such rounding leaves as they are; the kernel is bfloat16 already.
    """
    product = tf.add_n([part @ kernel for part in _bfloat16_parts(covariance)])

    def gradient(gradients: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        return tf.matmul(kernel * gradients, kernel, transpose_b=True), 2.0 * product * gradients

    return tf.reduce_sum(product * kernel, axis=0), gradient


def _bfloat16_parts(values: tf.Tensor) -> list[tf.Tensor]:
    parts = []
    for _ in range(_NUM_BFLOAT16_PARTS):
        # By its bits: a cast there and back is simplified away by XLA.
        part = tf.bitcast(tf.bitwise.bitwise_and(tf.bitcast(values, tf.int32), _BFLOAT16_BITS), tf.float32)
        parts.append(part)
        values = values - part
    return parts
