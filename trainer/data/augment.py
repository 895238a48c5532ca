"""Random changes of training images, after decoding and cropping."""

import tensorflow as tf

from trainer.config import InputConfig
from trainer.data import random_seed
from trainer.data.randaugment import randaugment


def augment(image: tf.Tensor, config: InputConfig, seed: int, position: tf.Tensor) -> tf.Tensor:
    """Applies what the settings ask for.

    Args:
      image: uint8 `[height, width, 3]`.
      config: the input settings.
      seed: the experiment's seed.
      position: int64 scalar, the example's number in the stream; equal (seed, position) give equal results.

    Returns:
      uint8 `[height, width, 3]`.
    """
    if config.horizontal_flip:
        flip_seed = random_seed.position_seed(seed, "flip", position)
        image = tf.image.stateless_random_flip_left_right(image, flip_seed)
    if config.randaugment_num_layers:
        layers_seed = random_seed.position_seed(seed, "randaugment", position)
        image = randaugment(image, config.randaugment_num_layers, config.randaugment_magnitude, layers_seed)
    return image
