"""The residual block: some convolutions beside a shortcut, normalised after them (v1.5) or before them (v2)."""

import dataclasses
from collections.abc import Sequence

import tensorflow as tf

from trainer.nn import pointwise, regularization
from trainer.nn.layers import Conv2D, ConvolutionShape, ForwardPass, Layer, average_pool
from trainer.nn.normalization import BatchNorm, BatchNormSettings
from trainer.nn.regularization import DropBlock
from trainer.nn.squeeze_excitation import SqueezeExcitation

BOTTLENECK_EXPANSION = 4


@dataclasses.dataclass(frozen=True)
class BlockOptions:
    """What the blocks of a network have in common, and how much this one is regularised."""

    norm: BatchNormSettings
    pools_shortcut: bool = False
    se_ratio: float = 0.0
    starts_as_identity: bool = True
    stochastic_depth_rate: float = 0.0
    dropblock: DropBlock | None = None


def basic_convolutions(filters: int, strides: int) -> tuple[ConvolutionShape, ...]:
    """Returns two 3x3 convolutions (He et al. 2015, arXiv 1512.03385)."""
    return ConvolutionShape(filters, 3, strides), ConvolutionShape(filters, 3)


def bottleneck_convolutions(filters: int, strides: int) -> tuple[ConvolutionShape, ...]:
    """Returns 1x1, 3x3, 1x1 convolutions; the 3x3 one has the stride (v1.5: half a point better than in the 1x1)."""
    return (
        ConvolutionShape(filters, 1),
        ConvolutionShape(filters, 3, strides),
        ConvolutionShape(filters * BOTTLENECK_EXPANSION, 1),
    )


class ResidualBlock(Layer):
    """A block that normalises after each convolution (v1.5): `relu(shortcut + residual)`.

    With `projects_shortcut` the shortcut is a normalised 1x1 convolution, needed where its shape would not fit.
    """

    def __init__(
        self,
        convolutions: Sequence[ConvolutionShape],
        options: BlockOptions,
        *,
        projects_shortcut: bool,
        name: str,
    ):
        super().__init__(name)
        self._options = options
        self._convolutions = self._make_convolutions(convolutions)
        self._norms = self._make_norms(len(convolutions))
        self._strides = max(shape.strides for shape in convolutions)
        filters = convolutions[-1].filters
        self._projection = self._make_projection(filters) if projects_shortcut else None
        self._projection_norm = BatchNorm(options.norm, name="projection_norm")
        self._gate = SqueezeExcitation(filters, options.se_ratio, name="gate") if options.se_ratio else None

    def call(self, inputs: tf.Tensor, forward: ForwardPass) -> tf.Tensor:
        """Returns `[batch, height / strides, width / strides, filters]`, rounded up."""
        residual = inputs
        for convolution, norm in zip(self._convolutions, self._norms, strict=True):
            residual = tf.nn.relu(residual) if convolution is not self._convolutions[0] else residual
            residual = pointwise.normalised(residual, convolution, norm, forward)
            residual = self._dropped(residual, norm.layer_name, forward)
        return tf.nn.relu(self._normalised_shortcut(inputs, forward) + self._regularised(residual, forward))

    def _make_convolutions(self, shapes: Sequence[ConvolutionShape]) -> list[Conv2D]:
        return [Conv2D(shape, name=f"conv{number}") for number, shape in enumerate(shapes, start=1)]

    def _make_norms(self, count: int) -> list[BatchNorm]:
        last = count if self._options.starts_as_identity else None
        return [
            BatchNorm(self._options.norm, name=f"norm{number}", is_zero_initialised=number == last)
            for number in range(1, count + 1)
        ]

    def _make_projection(self, filters: int) -> Conv2D:
        strides = 1 if self._options.pools_shortcut else self._strides
        return Conv2D(ConvolutionShape(filters, 1, strides), name="projection")

    def _projected(self, inputs: tf.Tensor, forward: ForwardPass) -> tf.Tensor:
        """Returns the shortcut. Pooled before projection it sees all pixels, and not a quarter of them (ResNet-D)."""
        if self._projection is None:
            return inputs
        return self._projection(self._pooled(inputs), forward)

    def _pooled(self, inputs: tf.Tensor) -> tf.Tensor:
        if self._options.pools_shortcut and self._strides > 1:
            return average_pool(inputs, self._strides, self._strides)
        return inputs

    def _normalised_shortcut(self, inputs: tf.Tensor, forward: ForwardPass) -> tf.Tensor:
        if self._projection is None:
            return inputs
        shortcut = pointwise.normalised(self._pooled(inputs), self._projection, self._projection_norm, forward)
        return self._dropped(shortcut, self._projection_norm.layer_name, forward)

    def _dropped(self, activations: tf.Tensor, name: str, forward: ForwardPass) -> tf.Tensor:
        if self._options.dropblock is None:
            return activations
        return self._options.dropblock(activations, forward, f"{tf.get_current_name_scope()}/{name}")

    def _regularised(self, residual: tf.Tensor, forward: ForwardPass) -> tf.Tensor:
        if self._gate is not None:
            residual = self._gate(residual, forward)
        rate = self._options.stochastic_depth_rate
        return regularization.stochastic_depth(residual, rate, forward, tf.get_current_name_scope())


class PreactivationBlock(ResidualBlock):
    """A block that normalises before each convolution (v2; He et al. 2016, arXiv 1603.05027): `shortcut + residual`."""

    def call(self, inputs: tf.Tensor, forward: ForwardPass) -> tf.Tensor:
        """Returns `[batch, height / strides, width / strides, filters]`, rounded up."""
        activated = tf.nn.relu(self._norms[0](inputs, forward))
        residual = self._convolutions[0](activated, forward)
        for convolution, norm in zip(self._convolutions[1:], self._norms[1:], strict=True):
            normalised = self._dropped(norm(residual, forward), norm.layer_name, forward)
            residual = convolution(tf.nn.relu(normalised), forward)
        shortcut = inputs if self._projection is None else self._projected(activated, forward)
        return shortcut + self._regularised(residual, forward)

    def _make_convolutions(self, shapes: Sequence[ConvolutionShape]) -> list[Conv2D]:
        # A last scale of 0 would sit before a ReLU here, which lets no gradient through at 0: the block would stay
        # dead. A last kernel of 0 starts the block as the identity as well, and learns.
        last = len(shapes) if self._options.starts_as_identity else None
        return [
            Conv2D(shape, name=f"conv{number}", is_zero_initialised=number == last)
            for number, shape in enumerate(shapes, start=1)
        ]

    def _make_norms(self, count: int) -> list[BatchNorm]:
        return [BatchNorm(self._options.norm, name=f"norm{number}") for number in range(1, count + 1)]
