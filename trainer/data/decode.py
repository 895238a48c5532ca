"""From the bytes of an image file to uint8 pixels of the size that the network takes.

`evaluation_image` is what evaluation, prediction and the exported model all call, so that they see the same pixels.

A crop much larger than the result is shrunk 2, 4 or 8 times first (a JPEG while it is decoded, which saves time), and
bilinear interpolation does the rest. Interpolation alone would pick single pixels out of many, and a true antialiasing
filter takes longer than decoding.
"""

import functools
from collections.abc import Callable

import tensorflow as tf

from trainer.config import InputConfig
from trainer.data import exif

# A window is int32 [top, left, height, width], in pixels of the whole image.
WindowFn = Callable[[tf.Tensor], tf.Tensor]

_DECODE_RATIOS = (1, 2, 4, 8)
_MAX_CROP_ATTEMPTS = 20


def evaluation_image(encoded: tf.Tensor, image_size: int, crop_fraction: float) -> tf.Tensor:
    """Decodes the central square whose side is `crop_fraction` of the short side, and resizes it.

    Args:
      encoded: string scalar: a JPEG, PNG, GIF (first frame), BMP or WebP file, of any size from 1x1 pixel.
      image_size: height and width of the result, pixels.
      crop_fraction: above 0, at most 1.

    Returns:
      uint8 `[image_size, image_size, 3]`, RGB; upright, and alpha composited on white, as conversion would do.
    """
    image = _decode_window(encoded, lambda shape: _central_square(shape, crop_fraction), image_size)
    # A central square stays one when the image is turned, so that turning the small result is enough.
    return exif.turn_upright(image, exif.orientation(encoded))


def training_image(encoded: tf.Tensor, config: InputConfig, seed: tf.Tensor) -> tf.Tensor:
    """Decodes an image and crops it as `config.crop` says.

    Args:
      encoded: string scalar, an image file.
      config: the input settings.
      seed: int64 `[2]`; equal seeds give equal crops.

    Returns:
      uint8 `[image_size, image_size, 3]`, RGB.
    """
    if config.crop == "random_resized":
        return _decode_window(encoded, lambda shape: _random_window(shape, config, seed), config.image_size)
    image = evaluation_image(encoded, config.image_size, config.eval_crop_fraction)
    return _pad_and_shift(image, config.crop_padding, seed) if config.crop == "pad" else image


def _decode_window(encoded: tf.Tensor, window_fn: WindowFn, image_size: int) -> tf.Tensor:
    """Decodes only the window that `window_fn` picks from the image's shape, and resizes it."""

    def from_jpeg():
        window = window_fn(tf.io.extract_jpeg_shape(encoded))
        branches = [lambda ratio=ratio: _decode_jpeg_window(encoded, window, ratio) for ratio in _DECODE_RATIOS]
        return tf.switch_case(_decode_ratio_index(window, image_size), branches)

    def from_other():
        image = tf.io.decode_image(encoded, expand_animations=False)
        image = tf.ensure_shape(image, [None, None, None])
        window = window_fn(tf.shape(image))
        top, left, height, width = tf.unstack(window)
        crop = _rgb_on_white(image[top : top + height, left : left + width])
        return _shrink(crop, tf.gather(_DECODE_RATIOS, _decode_ratio_index(window, image_size)))

    crop = tf.cond(tf.io.is_jpeg(encoded), from_jpeg, from_other)
    crop.set_shape([None, None, 3])
    pixels = _round_to_uint8(tf.image.resize(crop, [image_size, image_size]))
    return tf.ensure_shape(pixels, [image_size, image_size, 3])


def _decode_ratio_index(window: tf.Tensor, image_size: int) -> tf.Tensor:
    """Returns the index of the largest ratio that still leaves `image_size` pixels on the window's short side."""
    short_side = tf.minimum(window[2], window[3])
    thresholds = tf.constant([ratio * image_size for ratio in _DECODE_RATIOS[1:]])
    return tf.reduce_sum(tf.cast(short_side >= thresholds, tf.int32))


def _decode_jpeg_window(encoded: tf.Tensor, window: tf.Tensor, ratio: int) -> tf.Tensor:
    """Decodes the window at `1 / ratio` of its size; off by at most half a pixel of the shrunk image."""
    begin, size = window[:2], window[2:] // ratio
    # Half up; the shrunk image has no fewer pixels than begin and size need, since the decoder rounds its size up.
    shrunk_begin = (2 * begin + ratio) // (2 * ratio)
    return tf.io.decode_and_crop_jpeg(encoded, tf.concat([shrunk_begin, size], axis=0), channels=3, ratio=ratio)


def _shrink(image: tf.Tensor, ratio: tf.Tensor) -> tf.Tensor:
    """Averages blocks of pixels, as the JPEG decoder does."""
    smaller = tf.shape(image)[:2] // ratio
    shrink = functools.partial(tf.image.resize, image, smaller, method=tf.image.ResizeMethod.AREA)
    return tf.cond(ratio > 1, lambda: _round_to_uint8(shrink()), lambda: image)


def _round_to_uint8(pixels: tf.Tensor) -> tf.Tensor:
    """Rounds float32 pixels half up; interpolation stays within 0..255, so that nothing needs clipping."""
    return tf.cast(pixels + 0.5, tf.uint8)


def _rgb_on_white(image: tf.Tensor) -> tf.Tensor:
    """Returns grey (1 channel), grey and alpha (2), RGB (3) or RGB and alpha (4) as RGB."""
    num_channels = tf.shape(image)[2]
    has_alpha = tf.equal(num_channels % 2, 0)

    def blend():
        alpha = tf.cast(image[..., -1:], tf.float32) / 255.0
        return _round_to_uint8(tf.cast(image[..., :-1], tf.float32) * alpha + 255.0 * (1.0 - alpha))

    opaque = tf.cond(has_alpha, blend, lambda: image)
    return tf.broadcast_to(opaque, tf.concat([tf.shape(image)[:2], [3]], axis=0))


def _central_square(shape: tf.Tensor, crop_fraction: float) -> tf.Tensor:
    height, width = shape[0], shape[1]
    short_side = tf.cast(tf.minimum(height, width), tf.float32)
    side = tf.maximum(tf.cast(tf.round(short_side * crop_fraction), tf.int32), 1)
    return tf.stack([(height - side) // 2, (width - side) // 2, side, side])


def _random_window(shape: tf.Tensor, config: InputConfig, seed: tf.Tensor) -> tf.Tensor:
    """Inception-style crop (Szegedy et al., 2014); the whole image when no attempt fits into it."""
    whole_image = tf.constant([[[0.0, 0.0, 1.0, 1.0]]])
    begin, size, _ = tf.image.stateless_sample_distorted_bounding_box(
        shape,
        whole_image,
        seed,
        min_object_covered=0.0,
        aspect_ratio_range=(1 / config.crop_aspect_ratio_max, config.crop_aspect_ratio_max),
        area_range=(config.crop_area_min, 1.0),
        max_attempts=_MAX_CROP_ATTEMPTS,
    )
    return tf.concat([begin[:2], size[:2]], axis=0)


def _pad_and_shift(image: tf.Tensor, padding: int, seed: tf.Tensor) -> tf.Tensor:
    """Pads with zeros on all sides and cuts the old size out again, at a random place."""
    padded = tf.pad(image, [[padding, padding], [padding, padding], [0, 0]])
    return tf.image.stateless_random_crop(padded, image.shape, seed)
