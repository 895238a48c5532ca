"""What augmentation in the programs uses of `tf.contrib.image`: projective transformations of images."""

from typing import Any

import tensorflow as tf


def transform(images: Any, transforms: Any, interpolation: str = "NEAREST", output_shape: Any = None) -> tf.Tensor:
    """Maps each output point `(x, y)` to the input point that `transforms` says; points outside are 0.

    Args:
      images: `[batch, height, width, channels]`, `[height, width, channels]` or `[height, width]`.
      transforms: `[a0, a1, a2, b0, b1, b2, c0, c1]`, or a row of these for each image: the input point is
        `((a0 x + a1 y + a2) / k, (b0 x + b1 y + b2) / k)` with `k = c0 x + c1 y + 1`.
      interpolation: `NEAREST` or `BILINEAR`.
      output_shape: `[height, width]` of the result; None for that of the input.
    """
    images = tf.convert_to_tensor(images)
    transforms = tf.convert_to_tensor(transforms, tf.float32)
    batch = _as_batch(images)
    transformed = tf.raw_ops.ImageProjectiveTransformV3(
        images=batch,
        transforms=transforms if transforms.shape.rank == 2 else transforms[tf.newaxis],
        output_shape=tf.shape(batch)[1:3] if output_shape is None else output_shape,
        fill_value=0.0,
        interpolation=interpolation,
        fill_mode="CONSTANT",
    )
    result = _as_given(transformed, images)
    if output_shape is None:
        result.set_shape(images.shape)
    return result


def rotate(images: Any, angles: Any, interpolation: str = "NEAREST") -> tf.Tensor:
    """Rotates images counterclockwise about their centre by `angles` radians, one for all or one for each."""
    images = tf.convert_to_tensor(images)
    height, width = (tf.cast(size, tf.float32) for size in tf.unstack(tf.shape(_as_batch(images))[1:3]))
    angles = tf.reshape(tf.convert_to_tensor(angles, tf.float32), [-1])
    cosine, sine = tf.cos(angles), tf.sin(angles)
    x_offset = ((width - 1) - (cosine * (width - 1) - sine * (height - 1))) / 2
    y_offset = ((height - 1) - (sine * (width - 1) + cosine * (height - 1))) / 2
    zero = tf.zeros_like(angles)
    rows = tf.stack([cosine, -sine, x_offset, sine, cosine, y_offset, zero, zero], axis=1)
    return transform(images, rows, interpolation)


def translate(images: Any, translations: Any, interpolation: str = "NEAREST") -> tf.Tensor:
    """Moves images by `translations`, `[dx, dy]` in pixels: one for all or a row for each."""
    moves = tf.reshape(tf.convert_to_tensor(translations, tf.float32), [-1, 2])
    one, zero = tf.ones_like(moves[:, 0]), tf.zeros_like(moves[:, 0])
    rows = tf.stack([one, zero, -moves[:, 0], zero, one, -moves[:, 1], zero, zero], axis=1)
    return transform(images, rows, interpolation)


def _as_batch(images: tf.Tensor) -> tf.Tensor:
    if images.shape.rank == 2:
        return images[tf.newaxis, :, :, tf.newaxis]
    return images[tf.newaxis] if images.shape.rank == 3 else images


def _as_given(batch: tf.Tensor, images: tf.Tensor) -> tf.Tensor:
    if images.shape.rank == 2:
        return batch[0, :, :, 0]
    return batch[0] if images.shape.rank == 3 else batch
