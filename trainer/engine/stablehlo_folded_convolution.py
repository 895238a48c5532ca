"""A convolution of stride 2 over few channels, on blocks of 2x2 pixels.

Matrix units work on 8 channels and more at once; the first convolution of a network for photographs has 3. On blocks it
has 12, stride 1 and half the kernel, and computes the same sums (space-to-depth, as in MLPerf's ResNet-50 for TPUs).
"""

import dataclasses
from typing import Any

import jax
from jax import numpy as jnp

_DIMENSION_NUMBERS = ("NHWC", "HWIO", "NHWC")


@dataclasses.dataclass(frozen=True)
class Axis:
    """A convolution of stride 2 along one axis: padding before the first pixel, and the number of outputs."""

    low: int
    num_outputs: int

    def margins(self, num_blocks: int, num_kernel_blocks: int) -> tuple[int, int]:
        """Returns the blocks to add before and after `num_blocks`; negative ones are cropped."""
        before = (self.low + 1) // 2
        return before, self.num_outputs + num_kernel_blocks - 1 - before - num_blocks


def convolution(inputs: Any, kernel: Any, axes: tuple[Axis, Axis]) -> Any:
    """Returns the convolution of stride 2 of `inputs` and `kernel`, in their dtype.

    Args:
      inputs: `[batch, height, width, channels]`, height and width even.
      kernel: `[rows, columns, channels, filters]`.
      axes: of height and width.
    """
    blocks = _split(inputs, axis=1)
    folded = kernel
    for axis, window in enumerate(axes):
        folded = _padded_to_blocks(folded, axis, skipped=window.low % 2)
    folded = _split(folded, axis=0)
    margins = [window.margins(blocks.shape[1 + axis], folded.shape[axis]) for axis, window in enumerate(axes)]
    return jax.lax.conv_general_dilated(blocks, folded, (1, 1), margins, dimension_numbers=_DIMENSION_NUMBERS)


def kernel_gradient(inputs: Any, gradients: Any, axes: tuple[Axis, Axis], kernel_shape: tuple[int, ...]) -> Any:
    """Returns the gradient of `convolution` with respect to its kernel, `kernel_shape`."""
    kernel = jnp.zeros(kernel_shape, inputs.dtype)
    _, transposed = jax.vjp(lambda kernel: convolution(inputs, kernel, axes), kernel)
    return transposed(gradients)[0]


def _padded_to_blocks(kernel: Any, axis: int, skipped: int) -> Any:
    """Pads an axis to whole blocks, of which the first begins `skipped` pixels before the kernel."""
    margins = [(0, 0, 0)] * kernel.ndim
    margins[axis] = (skipped, (skipped + kernel.shape[axis]) % 2, 0)
    return jax.lax.pad(kernel, jnp.zeros((), kernel.dtype), margins)


def _split(pixels: Any, axis: int) -> Any:
    """Moves the pixels of each 2x2 block of axes `axis` and `axis + 1` into axis `axis + 2`, the channels."""
    shape = pixels.shape
    rows, columns, channels = shape[axis : axis + 3]
    split = pixels.reshape(*shape[:axis], rows // 2, 2, columns // 2, 2, channels, *shape[axis + 3 :])
    order = [*range(axis), axis, axis + 2, axis + 1, axis + 3, axis + 4, *range(axis + 5, split.ndim)]
    moved = split.transpose(order)
    return moved.reshape(*shape[:axis], rows // 2, columns // 2, 4 * channels, *shape[axis + 3 :])
