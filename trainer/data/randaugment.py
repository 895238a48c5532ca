"""RandAugment (Cubuk et al., 2020): a few operations per image, drawn from fourteen, all of one strength.

Magnitude 10 is the strongest that AutoAugment uses, as in the paper; ResNet-RS uses 10 to 15. Unlike the first
implementations, a larger magnitude never means a weaker operation (solarize and posterize ran backwards there).
"""

import math
from collections.abc import Callable

import tensorflow as tf

_FULL_MAGNITUDE = 10.0
_GREY_FILL = 128.0
_GREY_WEIGHTS = (0.299, 0.587, 0.114)  # ITU-R 601 luma

# Takes an image, uint8 [height, width, 3], the strength (1 at magnitude 10) and a float32 scalar that is 1 or -1.
Operation = Callable[[tf.Tensor, float, tf.Tensor], tf.Tensor]


def randaugment(image: tf.Tensor, num_layers: int, magnitude: float, seed: tf.Tensor) -> tf.Tensor:
    """Applies `num_layers` random operations, one after the other.

    Args:
      image: uint8 `[height, width, 3]`, at least 3x3 pixels.
      num_layers: operations to apply; the same one may come twice.
      magnitude: strength, 0 to 30.
      seed: int64 `[2]`; equal seeds give equal results.

    Returns:
      uint8 `[height, width, 3]`.
    """
    shape = image.shape
    strength = magnitude / _FULL_MAGNITUDE
    draws = tf.random.stateless_uniform([num_layers, 2], seed)
    for layer in range(num_layers):
        index = tf.cast(draws[layer, 0] * len(OPERATIONS), tf.int32)
        sign = tf.where(draws[layer, 1] < 0.5, -1.0, 1.0)
        branches = [
            lambda operation=operation, image=image, sign=sign: operation(image, strength, sign)
            for operation in OPERATIONS
        ]
        image = tf.ensure_shape(tf.switch_case(index, branches), shape)
    return image


def identity(image: tf.Tensor, strength: float, sign: tf.Tensor) -> tf.Tensor:
    """Returns the image."""
    del strength, sign
    return image


def autocontrast(image: tf.Tensor, strength: float, sign: tf.Tensor) -> tf.Tensor:
    """Stretches each channel to 0..255; a channel of one value stays as it is."""
    del strength, sign
    pixels = tf.cast(image, tf.float32)
    low = tf.reduce_min(pixels, axis=[0, 1])
    high = tf.reduce_max(pixels, axis=[0, 1])
    stretched = (pixels - low) * tf.math.divide_no_nan(255.0, high - low)
    return _to_uint8(tf.where(high > low, stretched, pixels))


def equalize(image: tf.Tensor, strength: float, sign: tf.Tensor) -> tf.Tensor:
    """Makes the histogram of each channel flat, with the rounding of Pillow's `ImageOps.equalize`."""
    del strength, sign
    channel_offset = tf.constant([0, 256, 512])
    values = tf.cast(image, tf.int32) + channel_offset
    histogram = tf.reshape(tf.math.bincount(tf.reshape(values, [-1]), minlength=768), [3, 256])
    brightest_count = tf.gather(tf.reshape(histogram, [-1]), tf.reduce_max(values, axis=[0, 1]))
    step = (tf.reduce_sum(histogram, axis=1) - brightest_count) // 255
    step = step[:, tf.newaxis]
    darker = tf.cumsum(histogram, axis=1, exclusive=True)
    curve = tf.minimum((darker + step // 2) // tf.maximum(step, 1), 255)
    curve = tf.where(step > 0, curve, tf.range(256))
    return tf.gather(tf.cast(tf.reshape(curve, [-1]), tf.uint8), values)


def rotate(image: tf.Tensor, strength: float, sign: tf.Tensor) -> tf.Tensor:
    """Turns by 30 degrees at full strength, either way."""
    angle = sign * math.radians(30) * strength
    return _affine(image, [tf.cos(angle), -tf.sin(angle), 0.0], [tf.sin(angle), tf.cos(angle), 0.0])


def shear_x(image: tf.Tensor, strength: float, sign: tf.Tensor) -> tf.Tensor:
    """Shifts each row by 0.3 of its distance from the middle, at full strength."""
    return _affine(image, [1.0, sign * 0.3 * strength, 0.0], [0.0, 1.0, 0.0])


def shear_y(image: tf.Tensor, strength: float, sign: tf.Tensor) -> tf.Tensor:
    """Shifts each column by 0.3 of its distance from the middle, at full strength."""
    return _affine(image, [1.0, 0.0, 0.0], [sign * 0.3 * strength, 1.0, 0.0])


def translate_x(image: tf.Tensor, strength: float, sign: tf.Tensor) -> tf.Tensor:
    """Shifts sideways by 0.45 of the width at full strength, never by more than 0.75."""
    return _affine(image, [1.0, 0.0, sign * _shift_share(strength) * image.shape[1]], [0.0, 1.0, 0.0])


def translate_y(image: tf.Tensor, strength: float, sign: tf.Tensor) -> tf.Tensor:
    """Shifts up or down by 0.45 of the height at full strength, never by more than 0.75."""
    return _affine(image, [1.0, 0.0, 0.0], [0.0, 1.0, sign * _shift_share(strength) * image.shape[0]])


def solarize(image: tf.Tensor, strength: float, sign: tf.Tensor) -> tf.Tensor:
    """Inverts the brightest values; all of them at full strength."""
    del sign
    threshold = 256 - round(256 * min(strength, 1.0))
    return tf.where(tf.cast(image, tf.int32) >= threshold, 255 - image, image)


def posterize(image: tf.Tensor, strength: float, sign: tf.Tensor) -> tf.Tensor:
    """Keeps only the high bits of each value: 4 at full strength, never fewer than 1."""
    del sign
    num_bits = max(8 - round(4 * strength), 1)
    return tf.bitwise.bitwise_and(image, tf.constant(256 - 2 ** (8 - num_bits), tf.uint8))


def color(image: tf.Tensor, strength: float, sign: tf.Tensor) -> tf.Tensor:
    """Moves the image towards grey, or away from it."""
    return _blend(_grey(image), image, strength, sign)


def contrast(image: tf.Tensor, strength: float, sign: tf.Tensor) -> tf.Tensor:
    """Moves the image towards its mean grey, or away from it."""
    return _blend(tf.reduce_mean(_grey(image)), image, strength, sign)


def brightness(image: tf.Tensor, strength: float, sign: tf.Tensor) -> tf.Tensor:
    """Moves the image towards black, or away from it."""
    return _blend(tf.constant(0.0), image, strength, sign)


def sharpness(image: tf.Tensor, strength: float, sign: tf.Tensor) -> tf.Tensor:
    """Moves the image towards a smoothed one, or away from it; the outermost pixels stay as they are."""
    pixels = tf.cast(image, tf.float32)
    kernel = tf.constant([[1.0, 1.0, 1.0], [1.0, 5.0, 1.0], [1.0, 1.0, 1.0]]) / 13.0
    kernel = tf.tile(kernel[:, :, tf.newaxis, tf.newaxis], [1, 1, 3, 1])
    inside = tf.nn.depthwise_conv2d(pixels[tf.newaxis], kernel, [1, 1, 1, 1], "VALID")[0]
    border = [[1, 1], [1, 1], [0, 0]]
    smoothed = tf.where(tf.pad(tf.ones_like(inside, tf.bool), border), tf.pad(inside, border), pixels)
    return _blend(smoothed, image, strength, sign)


OPERATIONS: tuple[Operation, ...] = (
    identity,
    autocontrast,
    equalize,
    rotate,
    solarize,
    color,
    posterize,
    contrast,
    brightness,
    sharpness,
    shear_x,
    shear_y,
    translate_x,
    translate_y,
)


def _affine(image: tf.Tensor, x_row: list, y_row: list) -> tf.Tensor:
    """Fills each pixel from where the matrix `[x_row, y_row]` puts it, counted from the middle; grey outside."""
    middle_x, middle_y = (image.shape[1] - 1) / 2, (image.shape[0] - 1) / 2
    x_row = [*x_row[:2], x_row[2] + middle_x - x_row[0] * middle_x - x_row[1] * middle_y]
    y_row = [*y_row[:2], y_row[2] + middle_y - y_row[0] * middle_x - y_row[1] * middle_y]
    transformed = tf.raw_ops.ImageProjectiveTransformV3(
        images=image[tf.newaxis],
        transforms=tf.stack([*x_row, *y_row, 0.0, 0.0])[tf.newaxis],
        output_shape=image.shape[:2],
        fill_value=_GREY_FILL,
        interpolation="NEAREST",
    )
    return transformed[0]


def _shift_share(strength: float) -> float:
    return min(0.45 * strength, 0.75)


def _grey(image: tf.Tensor) -> tf.Tensor:
    """Returns float32 `[height, width, 1]`."""
    return tf.reduce_sum(tf.cast(image, tf.float32) * tf.constant(_GREY_WEIGHTS), axis=-1, keepdims=True)


def _blend(base: tf.Tensor, image: tf.Tensor, strength: float, sign: tf.Tensor) -> tf.Tensor:
    """Returns the image at 1 + or - 0.9 times the strength on the line from `base` (0) through the image (1)."""
    factor = tf.maximum(1.0 + sign * 0.9 * strength, 0.0)
    return _to_uint8(base + factor * (tf.cast(image, tf.float32) - base))


def _to_uint8(pixels: tf.Tensor) -> tf.Tensor:
    return tf.cast(tf.clip_by_value(pixels, 0.0, 255.0) + 0.5, tf.uint8)
