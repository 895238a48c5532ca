"""The same program in words that XLA's GPU compiler makes faster code of.

TensorFlow's bridge lowers for TPUs. On a GPU two of its forms cost a ResNet-50 training step several percent each
(docs/models.md): the gradient of max-pooling, which becomes a scatter with atomic additions, and that of a ReLU, which
computes the ReLU once more from its operands where reading its output moves less.
"""

import dataclasses
import functools
import itertools
import math
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from jax import numpy as jnp
from jaxlib.mlir import ir

from trainer.engine import stablehlo
from trainer.engine.stablehlo import Program

# One comparison for each pixel of a window is written out; of a large window the scatter is the shorter program.
_LARGEST_WINDOW = 25


def for_gpu(program: Program) -> Program:
    """Returns a program that computes what `program` does, up to the rounding of sums of gradients."""
    return stablehlo.rewritten(program, _rewrite)


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


def _rewrite(module: Any) -> None:
    operations = list(stablehlo.operations(module.operation))
    masks = [operation for operation in operations if _is_relu_mask(operation)]
    poolings = [operation for operation in operations if _is_max_pool_gradient(operation)]
    for operation in masks:
        _read_output(operation)
    for operation in poolings:
        _say_from_the_inputs_side(operation, module)


def _is_relu_mask(operation: Any) -> bool:
    """Tells whether an operation compares the output of a ReLU: `maximum(x, 0) > 0`."""
    return (
        operation.name == "stablehlo.compare"
        and "GT" in str(operation.attributes["comparison_direction"])
        and _producer(operation.operands[0]) == "stablehlo.maximum"
        and bool(ir.RankedTensorType(operation.operands[0].type).rank)
    )


def _producer(value: Any) -> str:
    return value.owner.name if isinstance(value, ir.OpResult) else ""


def _read_output(mask: Any) -> None:
    """Puts a barrier before the mask, behind which XLA cannot see what the output was made of."""
    output = mask.operands[0]
    mask.operands[0] = ir.Operation.create(
        "stablehlo.optimization_barrier",
        results=[output.type],
        operands=[output],
        loc=mask.location,
        ip=ir.InsertionPoint(mask),
    ).results[0]


def _is_max_pool_gradient(operation: Any) -> bool:
    """Tells whether an operation adds each gradient to the first maximum of a small window, starting from 0."""
    if operation.name != "stablehlo.select_and_scatter":
        return False
    selects, adds = ([inner.operation for inner in region.blocks[0].operations] for region in operation.regions)
    return (
        [inner.name for inner in selects] == ["stablehlo.compare", "stablehlo.return"]
        and "GE" in str(selects[0].attributes["comparison_direction"])
        and [inner.name for inner in adds] == ["stablehlo.add", "stablehlo.return"]
        and _is_float_zero(operation.operands[2])
        and math.prod(_integers(operation, "window_dimensions")) <= _LARGEST_WINDOW
    )


def _is_float_zero(value: Any) -> bool:
    if _producer(value) != "stablehlo.constant":
        return False
    number = ir.DenseElementsAttr(value.owner.attributes["value"]).get_splat_value()
    return isinstance(number, ir.FloatAttr) and number.value == 0.0


def _integers(operation: Any, attribute: str) -> list[int]:
    return list(ir.DenseI64ArrayAttr(operation.attributes[attribute]))


def _say_from_the_inputs_side(pooling: Any, module: Any) -> None:
    """Replaces the operation by a call of `max_pool_gradient`, lowered by JAX."""
    inputs, gradients = (stablehlo.tensor_type(pooling.operands[index].type) for index in (0, 1))
    windows = _windows(pooling)
    lowered = jax.jit(functools.partial(max_pool_gradient, windows=windows)).lower(
        *stablehlo.shape_structs([inputs, gradients])
    )
    call = ir.Operation.create(
        "func.call",
        results=[pooling.results[0].type],
        operands=[pooling.operands[0], pooling.operands[1]],
        attributes={"callee": ir.FlatSymbolRefAttr.get(_add_function("max_pool_gradient", lowered.as_text(), module))},
        loc=pooling.location,
        ip=ir.InsertionPoint(pooling),
    )
    pooling.results[0].replace_all_uses_with(call.results[0])
    pooling.erase()


def _add_function(name: str, lowered_text: str, module: Any) -> str:
    """Adds the lone function of a module that JAX lowered, as a private one; returns its name, which is like `name`."""
    lowered = ir.Module.parse(lowered_text)  # owns the function that is copied, and must outlive it
    (main,) = lowered.body.operations
    function = main.operation.clone(ip=ir.InsertionPoint(module.body))
    function.attributes["sym_name"] = ir.StringAttr.get(name)
    function.attributes["sym_visibility"] = ir.StringAttr.get("private")
    return ir.StringAttr(ir.SymbolTable(module.operation).insert(function)).value


def _windows(pooling: Any) -> tuple[Window, ...]:
    rank = ir.RankedTensorType(pooling.operands[0].type).rank
    attributes = pooling.attributes
    strides = _integers(pooling, "window_strides") if "window_strides" in attributes else [1] * rank
    padding = np.array(attributes["padding"]).tolist() if "padding" in attributes else [[0, 0]] * rank
    sizes = _integers(pooling, "window_dimensions")
    return tuple(Window(size, stride, *margins) for size, stride, margins in zip(sizes, strides, padding, strict=True))
