"""The ResNet family, one row each: for photographs, and narrower ones for small images.

He et al. 2015 (arXiv 1512.03385), with the stride of a bottleneck in its 3x3 convolution (v1.5). The small ones have
the paper's CIFAR-10 layout (6n + 2 layers in three groups), but where a shortcut changes shape they project, as the
large ones do, while the paper pads with zeros.
"""

import dataclasses
import functools

import tensorflow as tf

from trainer.config import ModelConfig
from trainer.errors import UserError
from trainer.models import residual_block
from trainer.models.network import Network, NetworkEntry, NetworkOutputs, batch_norm_settings, scaled_filters
from trainer.models.residual_block import BlockOptions, PreactivationBlock, ResidualBlock
from trainer.nn import regularization
from trainer.nn.layers import (
    Conv2D,
    ConvolutionShape,
    Dense,
    ForwardPass,
    Layer,
    SpaceToDepthConv2D,
    global_average_pool,
    max_pool,
)
from trainer.nn.normalization import BatchNorm
from trainer.nn.regularization import DropBlock

STEM_FILTERS = 64


@dataclasses.dataclass(frozen=True)
class ResNetRow:
    """What tells one ResNet from another.

    `blocks` has the number of blocks of each group; `filters` the width of each group's 3x3 convolutions. A small-image
    row keeps the resolution in its stem (one 3x3 convolution); the others divide it by 4.
    """

    name: str
    block: str
    blocks: tuple[int, ...]
    filters: tuple[int, ...] = (64, 128, 256, 512)
    is_for_small_images: bool = False

    @property
    def depth(self) -> int:
        """Layers with weights on the longest path, as the names count them."""
        return 2 + sum(self.blocks) * (3 if self.block == "bottleneck" else 2)


_SMALL_FILTERS = (16, 32, 64)

ROWS = (
    ResNetRow("resnet18", "basic", (2, 2, 2, 2)),
    ResNetRow("resnet34", "basic", (3, 4, 6, 3)),
    ResNetRow("resnet50", "bottleneck", (3, 4, 6, 3)),
    ResNetRow("resnet101", "bottleneck", (3, 4, 23, 3)),
    ResNetRow("resnet152", "bottleneck", (3, 8, 36, 3)),
    ResNetRow("resnet200", "bottleneck", (3, 24, 36, 3)),
    ResNetRow("resnet8", "basic", (1, 1, 1), _SMALL_FILTERS, is_for_small_images=True),
    ResNetRow("resnet14", "basic", (2, 2, 2), _SMALL_FILTERS, is_for_small_images=True),
    ResNetRow("resnet20", "basic", (3, 3, 3), _SMALL_FILTERS, is_for_small_images=True),
    ResNetRow("resnet32", "basic", (5, 5, 5), _SMALL_FILTERS, is_for_small_images=True),
    ResNetRow("resnet44", "basic", (7, 7, 7), _SMALL_FILTERS, is_for_small_images=True),
    ResNetRow("resnet56", "basic", (9, 9, 9), _SMALL_FILTERS, is_for_small_images=True),
    ResNetRow("resnet18_small", "basic", (2, 2, 2, 2), is_for_small_images=True),
)


class ResNet(Network):
    """Stem, groups of residual blocks, global mean, dropout and one dense layer."""

    def __init__(self, row: ResNetRow, config: ModelConfig, num_classes: int):
        super().__init__()
        _check_dropblock_groups(row, config)
        self._dropout_rate = config.dropout_rate
        self._stem = _stem(row, config)
        self._blocks = _blocks(row, config)
        self._final_norm = BatchNorm(batch_norm_settings(config), name="final_norm") if config.preactivation else None
        self._classifier = Dense(num_classes, name="classifier", initial_stddev=0.01)

    def __call__(self, images: tf.Tensor, forward: ForwardPass) -> NetworkOutputs:
        """Returns the logits of normalised `images`, `[batch, height, width, 3]`."""
        activations = self._stem(images, forward)
        for block in self._blocks:
            activations = block(activations, forward)
        if self._final_norm is not None:
            activations = tf.nn.relu(self._final_norm(activations, forward))
        features = regularization.dropout(global_average_pool(activations), self._dropout_rate, forward)
        return NetworkOutputs(self._classifier(features, forward))


class Stem(Layer):
    """The first convolutions, each normalised and activated, and the max-pooling of the large networks.

    A pre-activated network leaves the last convolution bare: its first block normalises.
    """

    def __init__(self, convolutions: list[Conv2D], norms: list[BatchNorm], *, pools: bool):
        super().__init__("stem")
        self._convolutions = convolutions
        self._norms = norms
        self._pools = pools

    def call(self, inputs: tf.Tensor, forward: ForwardPass) -> tf.Tensor:
        """Returns `[batch, height / s, width / s, filters]`; s is 4 with pooling, else 1."""
        for index, convolution in enumerate(self._convolutions):
            inputs = convolution(inputs, forward)
            if index < len(self._norms):
                inputs = tf.nn.relu(self._norms[index](inputs, forward))
        return max_pool(inputs, 3, 2) if self._pools else inputs


def _stem(row: ResNetRow, config: ModelConfig) -> Stem:
    shapes = _stem_shapes(row, config)
    convolution_type = SpaceToDepthConv2D if config.space_to_depth_stem else Conv2D
    convolutions = [convolution_type(shape, name=f"conv{number}") for number, shape in enumerate(shapes, start=1)]
    num_norms = len(shapes) - (1 if config.preactivation else 0)
    norms = [BatchNorm(batch_norm_settings(config), name=f"norm{number}") for number in range(1, num_norms + 1)]
    return Stem(convolutions, norms, pools=not row.is_for_small_images)


def _stem_shapes(row: ResNetRow, config: ModelConfig) -> list[ConvolutionShape]:
    filters = scaled_filters(row.filters[0] if row.is_for_small_images else STEM_FILTERS, config.width_multiplier)
    if row.is_for_small_images:
        return [ConvolutionShape(filters, 3)]
    if config.resnet_d_stem:
        return [
            ConvolutionShape(filters // 2, 3, strides=2),
            ConvolutionShape(filters // 2, 3),
            ConvolutionShape(filters, 3),
        ]
    return [ConvolutionShape(filters, 7, strides=2)]


def _blocks(row: ResNetRow, config: ModelConfig) -> list[ResidualBlock]:
    block_type = PreactivationBlock if config.preactivation else ResidualBlock
    make_convolutions = {
        "basic": residual_block.basic_convolutions,
        "bottleneck": residual_block.bottleneck_convolutions,
    }[row.block]
    blocks: list[ResidualBlock] = []
    num_channels = _stem_shapes(row, config)[-1].filters
    for group, (count, filters) in enumerate(zip(row.blocks, row.filters, strict=True), start=1):
        for number in range(1, count + 1):
            strides = 2 if group > 1 and number == 1 else 1
            convolutions = make_convolutions(scaled_filters(filters, config.width_multiplier), strides)
            projects = strides > 1 or convolutions[-1].filters != num_channels
            options = _block_options(row, config, group, len(blocks))
            name = f"group{group}/block{number}"
            blocks.append(block_type(convolutions, options, projects_shortcut=projects, name=name))
            num_channels = convolutions[-1].filters
    return blocks


def _block_options(row: ResNetRow, config: ModelConfig, group: int, index: int) -> BlockOptions:
    """Returns the options of block `index` (from 0) of the network, which is in `group` (from 1)."""
    return BlockOptions(
        norm=batch_norm_settings(config),
        pools_shortcut=config.resnet_d_shortcut,
        se_ratio=config.se_ratio,
        starts_as_identity=config.zero_init_last_gamma,
        stochastic_depth_rate=regularization.linear_rate(config.stochastic_depth_rate, index, sum(row.blocks)),
        dropblock=_dropblock(row, config, group),
    )


def _dropblock(row: ResNetRow, config: ModelConfig, group: int) -> DropBlock | None:
    if config.dropblock_keep_prob == 1.0 or group not in config.dropblock_groups:
        return None
    keep_prob = regularization.group_keep_prob(config.dropblock_keep_prob, group, len(row.blocks))
    return DropBlock(keep_prob, config.dropblock_size)


def _check_dropblock_groups(row: ResNetRow, config: ModelConfig) -> None:
    is_default = config.dropblock_groups == ModelConfig().dropblock_groups
    if max(config.dropblock_groups, default=0) > len(row.blocks) and not is_default:
        raise UserError(
            f"{row.name} has {len(row.blocks)} groups",
            where=f"--dropblock_groups={','.join(map(str, config.dropblock_groups))}",
            remedy="name groups that exist, from 1",
        )


def unused_settings(row: ResNetRow, config: ModelConfig) -> frozenset[str]:
    """Returns the model settings that change nothing in this network."""
    unused: set[str] = set()
    if row.is_for_small_images:
        unused |= {"resnet_d_stem", "space_to_depth_stem"}
    if config.resnet_d_stem:
        unused.add("space_to_depth_stem")
    if config.dropblock_keep_prob == 1.0:
        unused |= {"dropblock_size", "dropblock_groups"}
    widens_at_full_size = row.block == "bottleneck" or config.resnet_d_shortcut
    if config.preactivation or config.batch_norm_group_size > 1 or not widens_at_full_size:
        unused.add("batch_norm_from_inputs")
    return frozenset(unused)


ENTRIES = tuple(
    NetworkEntry(
        name=row.name,
        family="resnet",
        depth=row.depth,
        native_image_size=32 if row.is_for_small_images else 224,
        native_num_classes=10 if row.is_for_small_images else 1000,
        build=functools.partial(ResNet, row),
        unused_settings=functools.partial(unused_settings, row),
    )
    for row in ROWS
)
