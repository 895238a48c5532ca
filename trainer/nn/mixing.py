"""Mixup and cutmix: each image blended with, or patched from, another one of its replica's batch."""

import dataclasses
import math

import tensorflow as tf

from trainer.nn.random_key import RandomKey


@dataclasses.dataclass(frozen=True)
class Mixing:
    """`mixup_alpha` and `cutmix_alpha` are the parameters of a Beta(alpha, alpha), 0 for off.

    With both on, a coin picks one of the two for each example.
    """

    mixup_alpha: float = 0.0
    cutmix_alpha: float = 0.0

    def __call__(self, images: tf.Tensor, targets: tf.Tensor, key: RandomKey) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns mixed images and targets; the partner of example i is example `batch - 1 - i`.

        Args:
          images: float `[batch, height, width, channels]`.
          targets: float `[batch, num_classes]`, class probabilities.
          key: of this step and replica.
        """
        share = self._share(images, key)
        mixed = images + tf.cast(1.0 - share, images.dtype) * (tf.reverse(images, [0]) - images)
        label_share = tf.reduce_mean(share, axis=[1, 2])
        return mixed, targets * label_share + tf.reverse(targets, [0]) * (1.0 - label_share)

    def _share(self, images: tf.Tensor, key: RandomKey) -> tf.Tensor:
        """Returns the share of each pixel that stays, float32 `[batch, height or 1, width or 1, 1]`."""
        batch, height, width, _ = images.shape
        if self.cutmix_alpha == 0.0:
            return mixup_share(key, batch, self.mixup_alpha)
        patched = cutmix_share(key, [batch, height, width], self.cutmix_alpha)
        if self.mixup_alpha == 0.0:
            return patched
        is_mixup = key.fold("choice").uniform([batch, 1, 1, 1]) < 0.5
        return tf.where(is_mixup, mixup_share(key, batch, self.mixup_alpha), patched)


def mixup_share(key: RandomKey, batch_size: int, alpha: float) -> tf.Tensor:
    """Returns the weight of each example against its partner, `[batch, 1, 1, 1]` (Zhang et al. 2017, arXiv 1710.09412).

    The larger of the two weights: otherwise a pair could trade places, and both would be the other's image.
    """
    share = beta_samples(key.fold("mixup"), batch_size, alpha)
    return tf.reshape(tf.maximum(share, 1.0 - share), [batch_size, 1, 1, 1])


def cutmix_share(key: RandomKey, shape: list[int], alpha: float) -> tf.Tensor:
    """Returns 0 inside a random rectangle and 1 outside, float32 `[batch, height, width, 1]`.

    (Yun et al. 2019, arXiv 1905.04899.) The rectangle has the image's aspect ratio and, before the border cuts it, an
    area share of 1 - Beta(alpha, alpha).
    """
    batch_size, height, width = shape
    key = key.fold("cutmix")
    side = tf.sqrt(1.0 - beta_samples(key, batch_size, alpha))
    is_in_rows = _interval(key.fold("rows"), side, height)[:, :, tf.newaxis]
    is_in_columns = _interval(key.fold("columns"), side, width)[:, tf.newaxis, :]
    return 1.0 - tf.cast(is_in_rows & is_in_columns, tf.float32)[..., tf.newaxis]


def _interval(key: RandomKey, side: tf.Tensor, size: int) -> tf.Tensor:
    """Returns bool `[batch, size]`: pixels within `side * size / 2` of a centre that is uniform over the axis."""
    centre = key.uniform([side.shape[0]]) * size
    pixels = tf.range(size, dtype=tf.float32) + 0.5
    return tf.abs(pixels[tf.newaxis] - centre[:, tf.newaxis]) < (side * size / 2.0)[:, tf.newaxis]


def beta_samples(key: RandomKey, count: int, alpha: float) -> tf.Tensor:
    """Returns `[count]` samples of Beta(alpha, alpha), exactly, from two uniforms each.

    TensorFlow's gamma sampler does not compile with XLA. Bailey 1994 (Mathematics of Computation 62:779) draws
    Student's t with 2 alpha degrees of freedom as `cos(2 pi v) sqrt(2 alpha (u^(-1/alpha) - 1))`, and
    t / sqrt(2 alpha + t^2) is 2 Beta(alpha, alpha) - 1. Written with u^(1/alpha): it may underflow but not overflow.
    """
    cosine = tf.cos(2.0 * math.pi * key.fold("v").uniform([count]))
    power = key.fold("u").uniform([count]) ** (1.0 / alpha)
    ratio = power / (1.0 - power)
    samples = 0.5 * (1.0 + cosine * tf.math.rsqrt(ratio + tf.square(cosine)))
    return tf.clip_by_value(samples, 0.0, 1.0)  # rounding may step outside
