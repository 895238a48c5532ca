"""The same program in words that XLA's GPU compiler makes faster code of.

TensorFlow's bridge lowers for TPUs. On a GPU some of its forms cost a ResNet-50 training step several percent each
(docs/models.md): the gradient of max-pooling, which becomes a scatter with atomic additions; that of a ReLU, which
computes the ReLU once more from its operands where reading its output moves less; the first convolution, whose
three channels leave matrix units idle; and hundreds of small sums over replicas.
"""

import functools
import math
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jaxlib.mlir import ir

from trainer.engine import stablehlo, stablehlo_folded_convolution, stablehlo_max_pool, stablehlo_small_sums
from trainer.engine.stablehlo import Program
from trainer.engine.stablehlo_folded_convolution import Axis
from trainer.engine.stablehlo_max_pool import Window

# One comparison for each pixel of a window is written out; of a large window the scatter is the shorter program.
_LARGEST_WINDOW = 25
# More channels than these fill a matrix unit by themselves.
_MOST_CHANNELS_TO_FOLD = 4
_FORWARD = "[b, 0, 1, f]x[0, 1, i, o]->[b, 0, 1, f]"
_KERNEL_GRADIENT = "[f, 0, 1, b]x[i, 0, 1, o]->[0, 1, b, f]"


def for_gpu(program: Program) -> Program:
    """Returns a program that computes what `program` does, up to rounding."""
    return stablehlo.rewritten(program, _rewrite)


def _rewrite(module: Any) -> None:
    operations = list(stablehlo.operations(module.operation))
    rewrites = (
        (_is_relu_mask, _read_output),
        (_is_max_pool_gradient, functools.partial(_pool_from_the_inputs_side, module=module)),
        (_is_stem, functools.partial(_fold_stem, module=module)),
        (_is_stem_kernel_gradient, functools.partial(_fold_stem_kernel_gradient, module=module)),
    )
    # All are found before the first is replaced: what is inside a replaced operation can no longer be asked.
    found = [(rewrite, operation) for operation in operations for matches, rewrite in rewrites if matches(operation)]
    for rewrite, operation in found:
        rewrite(operation)
    stablehlo_small_sums.gather(module)


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
        and math.prod(_integers(operation, "window_dimensions", 1)) <= _LARGEST_WINDOW
    )


def _is_float_zero(value: Any) -> bool:
    if _producer(value) != "stablehlo.constant":
        return False
    number = ir.DenseElementsAttr(value.owner.attributes["value"]).get_splat_value()
    return isinstance(number, ir.FloatAttr) and number.value == 0.0


def _integers(operation: Any, attribute: str, default: int) -> list[int]:
    """Returns an attribute with one number for each axis; those of a convolution have two."""
    attributes = operation.attributes
    if attribute in attributes:
        return list(ir.DenseI64ArrayAttr(attributes[attribute]))
    rank = ir.RankedTensorType(operation.operands[0].type).rank
    return [default] * (rank if operation.name == "stablehlo.select_and_scatter" else rank - 2)


def _pool_from_the_inputs_side(pooling: Any, module: Any) -> None:
    gradient = functools.partial(stablehlo_max_pool.max_pool_gradient, windows=_windows(pooling))
    _replace_by_call(pooling, "max_pool_gradient", gradient, module)


def _is_stem(operation: Any) -> bool:
    """Tells whether an operation is a convolution of stride 2 over few channels of an even number of pixels."""
    return _is_over_few_channels(operation, _FORWARD, strides=2, kernel_dilation=1)


def _is_stem_kernel_gradient(operation: Any) -> bool:
    """Tells whether an operation is the gradient of such a convolution with respect to its kernel."""
    return _is_over_few_channels(operation, _KERNEL_GRADIENT, strides=1, kernel_dilation=2)


def _is_over_few_channels(operation: Any, dimension_numbers: str, strides: int, kernel_dilation: int) -> bool:
    # Who has switched TensorFloat-32 off asks for more precision; what JAX lowers would not.
    if operation.name != "stablehlo.convolution" or "precision HIGH" in str(operation):
        return False
    if dimension_numbers not in str(operation):
        return False
    _, rows, columns, channels = stablehlo.tensor_type(operation.operands[0].type).shape
    wanted = {"window_strides": strides, "rhs_dilation": kernel_dilation, "lhs_dilation": 1}
    return (
        channels <= _MOST_CHANNELS_TO_FOLD
        and rows % 2 == columns % 2 == 0
        and all(_integers(operation, name, 1) == [number, number] for name, number in wanted.items())
        and all(ir.IntegerAttr(operation.attributes[f"{kind}_group_count"]).value == 1 for kind in ("feature", "batch"))
        and "window_reversal" not in operation.attributes
    )


def _fold_stem(stem: Any, module: Any) -> None:
    outputs = stablehlo.tensor_type(stem.results[0].type).shape
    convolution = functools.partial(stablehlo_folded_convolution.convolution, axes=_axes(stem, outputs))
    _replace_by_call(stem, "folded_convolution", convolution, module)


def _fold_stem_kernel_gradient(operation: Any, module: Any) -> None:
    outputs = stablehlo.tensor_type(operation.operands[1].type).shape
    kernel_shape = stablehlo.tensor_type(operation.results[0].type).shape
    gradient = functools.partial(
        stablehlo_folded_convolution.kernel_gradient, axes=_axes(operation, outputs), kernel_shape=kernel_shape
    )
    _replace_by_call(operation, "folded_convolution_kernel_gradient", gradient, module)


def _axes(convolution: Any, output_shape: tuple[int, ...]) -> tuple[Axis, Axis]:
    (first_low, _), (second_low, _) = _padding(convolution, rank=2)
    return Axis(first_low, output_shape[1]), Axis(second_low, output_shape[2])


def _replace_by_call(operation: Any, name: str, function: Callable[[Any, Any], Any], module: Any) -> None:
    """Replaces an operation by a call of `function`, lowered by JAX, with its first two operands."""
    operands = [operation.operands[0], operation.operands[1]]
    types = [stablehlo.tensor_type(operand.type) for operand in operands]
    lowered = jax.jit(function).lower(*stablehlo.shape_structs(types))
    call = ir.Operation.create(
        "func.call",
        results=[operation.results[0].type],
        operands=operands,
        attributes={"callee": ir.FlatSymbolRefAttr.get(_add_function(name, lowered.as_text(), module))},
        loc=operation.location,
        ip=ir.InsertionPoint(operation),
    )
    operation.results[0].replace_all_uses_with(call.results[0])
    operation.erase()


def _add_function(name: str, lowered_text: str, module: Any) -> str:
    """Adds the lone function of a module that JAX lowered, as a private one; returns its name, which is like `name`."""
    lowered = ir.Module.parse(lowered_text)  # owns the function that is copied, and must outlive it
    (main,) = lowered.body.operations
    function = main.operation.clone(ip=ir.InsertionPoint(module.body))
    function.attributes["sym_name"] = ir.StringAttr.get(name)
    function.attributes["sym_visibility"] = ir.StringAttr.get("private")
    return ir.StringAttr(ir.SymbolTable(module.operation).insert(function)).value


def _windows(pooling: Any) -> tuple[Window, ...]:
    sizes = _integers(pooling, "window_dimensions", 1)
    strides, padding = _integers(pooling, "window_strides", 1), _padding(pooling, rank=len(sizes))
    return tuple(Window(size, stride, *margins) for size, stride, margins in zip(sizes, strides, padding, strict=True))


def _padding(operation: Any, rank: int) -> list[list[int]]:
    """Returns [low, high] of each axis that the operation has windows along."""
    attributes = operation.attributes
    return np.array(attributes["padding"]).tolist() if "padding" in attributes else [[0, 0]] * rank
