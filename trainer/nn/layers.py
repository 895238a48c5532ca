"""The base of all layers, and those that hold plain weights or none.

A layer is called as `layer(inputs, forward)`. It makes its float32 variables at the first call, under the name scope
of the caller's layer, and returns the dtype that it was given: the caller picks float32 or bfloat16 once, by
casting the images.
"""

import dataclasses
import math
from collections.abc import Sequence
from contextlib import AbstractContextManager

import tensorflow as tf

from trainer.nn import initializers
from trainer.nn.initializers import Initializer
from trainer.nn.random_key import RandomKey


@dataclasses.dataclass(frozen=True)
class ForwardPass:
    """One pass through a network.

    `key` seeds initial weights and random layers; `progress` is the share of training done, 0 to 1, that scheduled
    regularisers follow.
    """

    is_training: bool
    key: RandomKey
    progress: tf.Tensor | float = 1.0


class Layer(tf.Module):
    """A layer named `name`; subclasses implement `call(inputs, forward)`."""

    def __init__(self, name: str):
        super().__init__()
        self.layer_name = name
        self._created: dict[str, tf.Variable] = {}

    def __call__(self, inputs: tf.Tensor, forward: ForwardPass) -> tf.Tensor:
        """Opens the layer's name scope and calls it."""
        with self.scope():
            return self.call(inputs, forward)

    def scope(self) -> AbstractContextManager:
        """Returns the layer's name scope, which its variables must be made in."""
        # The trailing slash re-enters a scope as it is. Without it a second trace of the same graph would get
        # "conv1_1", and the variables would not be found again by name.
        parent = tf.get_current_name_scope()
        return tf.name_scope(f"{parent}/{self.layer_name}/" if parent else f"{self.layer_name}/")

    def call(self, inputs: tf.Tensor, forward: ForwardPass) -> tf.Tensor:
        """Computes the layer; `__call__` has opened its name scope."""
        raise NotImplementedError

    def variable(
        self,
        name: str,
        shape: Sequence[int],
        initializer: Initializer,
        forward: ForwardPass,
        *,
        is_trainable: bool = True,
    ) -> tf.Variable:
        """Returns the float32 variable `<scope>/<name>`, made by the first call.

        The initializer gets a key of the variable's full name, so that weights depend neither on the order of creation
        nor on the step. It runs when the variable store wants it, which may be outside the trace.
        """
        if name not in self._created:
            key = RandomKey(forward.key.seed).fold(f"{tf.get_current_name_scope()}/{name}")
            self._created[name] = tf.Variable(
                lambda: initializer(key, shape), trainable=is_trainable, name=name, shape=shape
            )
        return self._created[name]


class Sequential(Layer):
    """Applies `layers` one after the other."""

    def __init__(self, layers: Sequence[Layer], *, name: str):
        super().__init__(name)
        self._layers = list(layers)

    def call(self, inputs: tf.Tensor, forward: ForwardPass) -> tf.Tensor:
        """Returns the output of the last layer."""
        for layer in self._layers:
            inputs = layer(inputs, forward)
        return inputs


@dataclasses.dataclass(frozen=True)
class ConvolutionShape:
    """The numbers of a 2-D convolution: odd square kernel and strides, in pixels; `num_groups` of channels."""

    filters: int
    kernel_size: int
    strides: int = 1
    num_groups: int = 1


class Conv2D(Layer):
    """2-D convolution without bias; kernel `[size, size, channels / groups, filters]`.

    Pads by `kernel_size // 2` on each side whatever the stride, as the published ResNets do ("SAME" would shift a
    strided convolution by half a pixel on even images).
    """

    def __init__(self, shape: ConvolutionShape, *, name: str, is_zero_initialised: bool = False):
        super().__init__(name)
        self.shape = shape
        self._is_zero_initialised = is_zero_initialised

    def call(self, inputs: tf.Tensor, forward: ForwardPass) -> tf.Tensor:
        """Returns `[batch, height / strides, width / strides, filters]`, rounded up."""
        return self.convolve(inputs, self.kernel(inputs, forward))

    def kernel(self, inputs: tf.Tensor, forward: ForwardPass) -> tf.Tensor:
        """Returns the kernel for such `inputs`, in their dtype."""
        size, num_groups = self.shape.kernel_size, self.shape.num_groups
        shape = [size, size, inputs.shape[-1] // num_groups, self.shape.filters]
        return tf.cast(self.variable("kernel", shape, self._initializer(), forward), inputs.dtype)

    def convolve(self, inputs: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
        """Returns the convolution of `inputs` and `kernel`, which have one dtype."""
        strides, margin = self.shape.strides, [self.shape.kernel_size // 2] * 2
        # Padding that is part of the convolution writes no padded copy to memory. At stride 1 "SAME" says the same, and
        # is up to twice as fast on CPU.
        padding = "SAME" if strides == 1 else [[0, 0], margin, margin, [0, 0]]
        return tf.nn.conv2d(inputs, kernel, strides, padding)

    def _initializer(self) -> Initializer:
        if self._is_zero_initialised:
            return initializers.zeros
        # He et al. 2015 (arXiv 1502.01852), fan-out: keeps the variance of gradients through a ReLU network.
        fan_out = self.shape.kernel_size**2 * self.shape.filters / self.shape.num_groups
        return initializers.normal(math.sqrt(2.0 / fan_out))


class SpaceToDepthConv2D(Conv2D):
    """`Conv2D` of stride 2, computed on 2x2 blocks of pixels as a convolution of stride 1 with four times the channels.

    Same variable, same result. A matrix unit that takes 128 channels is hardly used by 3, and a little better by 12. An
    odd or unknown number of rows or columns has no such blocks: such images are convolved as they are.
    """

    def convolve(self, inputs: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
        """Returns the convolution of `inputs` and `kernel`, which have one dtype."""
        if any(size is None or size % 2 for size in inputs.shape[1:3]):
            return super().convolve(inputs, kernel)
        margin = self.shape.kernel_size // 2
        # Blocks start at even pixels: rows -margin..margin around an even one lie in blocks -before..after.
        before, after = (margin + 1) // 2, margin // 2
        folded = _fold_kernel(kernel, blocks=before + 1 + after, skipped=2 * before - margin)
        padding = [[0, 0], [before, after], [before, after], [0, 0]]
        return tf.nn.conv2d(tf.nn.space_to_depth(inputs, 2), folded, 1, padding)


def _fold_kernel(kernel: tf.Tensor, blocks: int, skipped: int) -> tf.Tensor:
    """Returns `[blocks, blocks, 4 * channels, filters]`: a square kernel that starts `skipped` pixels into block 0."""
    size, _, num_channels, filters = kernel.shape
    margins = [skipped, 2 * blocks - size - skipped]
    padded = tf.pad(kernel, [margins, margins, [0, 0], [0, 0]])
    split = tf.reshape(padded, [blocks, 2, blocks, 2, num_channels, filters])
    return tf.reshape(tf.transpose(split, [0, 2, 1, 3, 4, 5]), [blocks, blocks, 4 * num_channels, filters])


class Dense(Layer):
    """Matrix product and bias over the last axis; kernel `[channels, units]`, bias `[units]`.

    The kernel starts normal with `initial_stddev`, or, without it, so that outputs have the variance of inputs.
    """

    def __init__(self, units: int, *, name: str, initial_stddev: float | None = None):
        super().__init__(name)
        self._units = units
        self._initial_stddev = initial_stddev

    def call(self, inputs: tf.Tensor, forward: ForwardPass) -> tf.Tensor:
        """Returns `[batch, units]`."""
        shape = [inputs.shape[-1], self._units]
        stddev = self._initial_stddev or 1.0 / math.sqrt(shape[0])
        kernel = self.variable("kernel", shape, initializers.normal(stddev), forward)
        bias = self.variable("bias", shape[1:], initializers.zeros, forward)
        return inputs @ tf.cast(kernel, inputs.dtype) + tf.cast(bias, inputs.dtype)


def max_pool(inputs: tf.Tensor, size: int, strides: int) -> tf.Tensor:
    """Returns the maximum over each window, `[batch, height / strides, width / strides, channels]` rounded up."""
    return tf.nn.max_pool2d(inputs, size, strides, "SAME")


def average_pool(inputs: tf.Tensor, size: int, strides: int) -> tf.Tensor:
    """Returns the mean over each window; pixels outside the image do not count."""
    return tf.nn.avg_pool2d(inputs, size, strides, "SAME")


def global_average_pool(inputs: tf.Tensor) -> tf.Tensor:
    """Returns `[batch, channels]` float32, the mean over all pixels: a bfloat16 sum would lose small activations."""
    return tf.reduce_mean(tf.cast(inputs, tf.float32), axis=[1, 2])
