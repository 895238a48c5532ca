"""The gradient of max-pooling, from the inputs' side."""

import dataclasses
import itertools
import math
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from jax import numpy as jnp


@dataclasses.dataclass(frozen=True)
class Window:
    """A pooling window along one axis; `low` and `high` are the padding, negative where the inputs are cropped."""

    size: int
    stride: int
    low: int
    high: int

    @property
    def shifts(self) -> tuple[int, ...]:
        """The windows that reach into cell `c`, the inputs `c * stride` to `(c + 1) * stride - 1`: `c + shift` each."""
        offsets = range(self.low - self.size + 1, self.low + self.stride)
        return tuple(sorted({offset // self.stride for offset in offsets if offset % self.stride == 0}))

    @property
    def num_codes(self) -> int:
        """Codes of a place in the window: places of neighbouring cells need their own, outside the window's."""
        return 1 if self.size == self.stride == 1 else self.size + self.stride

    def outputs(self, values: Any, axis: int, first: int, count: int) -> Any:
        """Returns the `count` values of an axis that lie at place `first` of their windows."""
        return jax.lax.slice_in_dim(values, first, first + (count - 1) * self.stride + 1, self.stride, axis)


def max_pool_gradient(inputs: Any, gradients: Any, windows: Sequence[Window]) -> Any:
    """Returns the gradient of max-pooling with respect to `inputs`; a window's goes to its first maximum.

    Each input adds up, in float32 at least, what it gets from the windows that it lies in. From the windows' side, as
    `stablehlo.select_and_scatter` says it, several may write to one input.

    Args:
      inputs: `[batch, height, width, channels]`, or other axes; floating point.
      gradients: with respect to the outputs.
      windows: one for each axis.
    """
    # The barrier keeps the places, a byte for each output, from being computed again for each input.
    places = jax.lax.optimization_barrier(_places_of_maxima(inputs, gradients.shape, windows)).astype(jnp.int32)
    gradients = gradients.astype(jnp.promote_types(inputs.dtype, jnp.float32))
    cells = tuple(-(-size // window.stride) for size, window in zip(inputs.shape, windows, strict=True))
    total = jnp.zeros(_split_shape(cells, windows), gradients.dtype)
    for shifts in itertools.product(*(window.shifts for window in windows)):
        arriving = _for_cells(gradients, shifts, cells, windows)
        is_maximum = _for_cells(places, shifts, cells, windows) == _places_in_window(shifts, cells, windows)
        total += jax.lax.select(is_maximum, arriving, jnp.zeros_like(arriving))
    covered = [cell * window.stride for cell, window in zip(cells, windows, strict=True)]
    return jax.lax.slice(total.astype(inputs.dtype).reshape(covered), [0] * inputs.ndim, inputs.shape)


def _places_of_maxima(inputs: Any, output_shape: Sequence[int], windows: Sequence[Window]) -> Any:
    """Returns for each window the code of the place of its first maximum, in the smallest dtype that has room."""
    lowest = jnp.array(-jnp.inf, inputs.dtype)
    padded = jax.lax.pad(inputs, lowest, [(window.low, window.high, 0) for window in windows])
    dtype = np.min_scalar_type(-math.prod(window.num_codes for window in windows))
    best, best_place = jnp.full(output_shape, lowest), jnp.zeros(output_shape, dtype)
    for offsets in itertools.product(*(range(window.size) for window in windows)):
        values, code = padded, 0
        for axis, (window, offset, count) in enumerate(zip(windows, offsets, output_shape, strict=True)):
            values = window.outputs(values, axis, offset, count)
            code = code * window.num_codes + offset
        stays = best >= values
        best = jax.lax.select(stays, best, values)
        best_place = jax.lax.select(stays, best_place, jnp.full(output_shape, code, dtype))
    return best_place


def _places_in_window(shifts: Sequence[int], cells: Sequence[int], windows: Sequence[Window]) -> Any:
    """Returns the code of each input's place in the window `cell + shift`, which it may lie outside of."""
    shape = _split_shape(cells, windows)
    code = jnp.zeros(shape, jnp.int32)
    for axis, (shift, window) in enumerate(zip(shifts, windows, strict=True)):
        place = jax.lax.broadcasted_iota(jnp.int32, shape, 2 * axis + 1) + (window.low - shift * window.stride)
        code = code * window.num_codes + place
    return code


def _for_cells(values: Any, shifts: Sequence[int], cells: Sequence[int], windows: Sequence[Window]) -> Any:
    """Returns the value of window `cell + shift` for every input of a cell; 0 where there is no such window."""
    margins = [(-shift, cell + shift - size, 0) for shift, cell, size in zip(shifts, cells, values.shape, strict=True)]
    padded = jax.lax.pad(values, jnp.zeros((), values.dtype), margins)
    return jax.lax.broadcast_in_dim(padded, _split_shape(cells, windows), range(0, 2 * len(cells), 2))


def _split_shape(cells: Sequence[int], windows: Sequence[Window]) -> list[int]:
    """Returns the shape of the inputs with each axis split into (cell, input of the cell)."""
    return [number for cell, window in zip(cells, windows, strict=True) for number in (cell, window.stride)]
