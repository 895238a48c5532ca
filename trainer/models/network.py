"""What a network is: a callable from images to logits, and a row of the model table that builds it."""

import dataclasses
from collections.abc import Callable

import tensorflow as tf

from trainer.config import ModelConfig
from trainer.nn.layers import ForwardPass
from trainer.nn.normalization import BatchNormSettings


@dataclasses.dataclass(frozen=True)
class NetworkOutputs:
    """float32 logits, `[batch, num_classes]`; `auxiliary_logits` of a head that helps training and is dropped after."""

    logits: tf.Tensor
    auxiliary_logits: tf.Tensor | None = None


class Network(tf.Module):
    """A network; its layers make their variables at the first call."""

    def __call__(self, images: tf.Tensor, forward: ForwardPass) -> NetworkOutputs:
        """Returns the logits of normalised `images`, `[batch, height, width, 3]`, whose dtype the activations have."""
        raise NotImplementedError


@dataclasses.dataclass(frozen=True)
class NetworkEntry:
    """A row of the model table.

    The native size and class count are those of the data that the network was published for. `build(config,
    num_classes)` returns the network; `unused_settings(config)` the names of model settings that have no effect on it
    under this configuration.
    """

    name: str
    family: str
    depth: int
    native_image_size: int
    native_num_classes: int
    build: Callable[[ModelConfig, int], Network]
    unused_settings: Callable[[ModelConfig], frozenset[str]]


def scaled_filters(filters: int, multiplier: float) -> int:
    """Returns `filters * multiplier`, rounded to a multiple of 4 and at least 4 (unchanged for 1.0)."""
    return filters if multiplier == 1.0 else max(4, 4 * round(filters * multiplier / 4))


def batch_norm_settings(config: ModelConfig) -> BatchNormSettings:
    """Returns the batch-norm part of the configuration."""
    return BatchNormSettings(
        momentum=config.batch_norm_momentum,
        epsilon=config.batch_norm_epsilon,
        group_size=config.batch_norm_group_size,
        from_inputs=config.batch_norm_from_inputs,
    )
