"""Small sums over replicas, many at a time, as one sum of a vector.

A ResNet-50 sums about 250 small tensors over replicas: gradients of scales and offsets, moving averages. XLA gathers
them too, but late, when nothing is fused any more: each result is then copied out of the vector by a kernel of its own.
"""

import heapq
import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
from jaxlib.mlir import ir

from trainer.engine import stablehlo

# Larger ones are worth their own transfer, which goes on while gradients of earlier layers are computed.
_LARGEST_NUM_BYTES = 64 * 1024
_SUM = "stablehlo.all_reduce"


def gather(module: Any) -> None:
    """Replaces sums over the same replicas that do not depend on each other by one; the same numbers are added."""
    # Those of the sums themselves are not looked into: they go with the sum.
    holders = [one for one in stablehlo.operations(module.operation) if one.name != _SUM]
    for block in [block for one in holders for region in one.regions for block in region.blocks]:
        _gather_in(block)


def _gather_in(block: Any) -> None:
    operations = [inner.operation for inner in block.operations]
    sums = {index for index, operation in enumerate(operations) if _is_small_sum(operation)}
    if len(sums) < 2:
        return
    producers = _producers(operations)
    groups = _groups(operations, sums, _depths(producers, sums))
    end = ir.InsertionPoint(operations[-1])
    for node in _order(producers, groups):
        if len(node) > 1:
            _sum_together([operations[index] for index in node], end)
        elif node != (len(operations) - 1,):
            operations[node[0]].move_before(operations[-1])


def _is_small_sum(operation: Any) -> bool:
    if operation.name != _SUM or len(operation.operands) != 1:
        return False
    (block,) = operation.regions[0].blocks
    if [inner.operation.name for inner in block.operations] != ["stablehlo.add", "stablehlo.return"]:
        return False
    return stablehlo.tensor_type(operation.operands[0].type).num_bytes <= _LARGEST_NUM_BYTES


def _producers(operations: Sequence[Any]) -> list[set[int]]:
    """Returns of each operation which of `operations` it reads, in its regions as well."""
    positions = {operation: index for index, operation in enumerate(operations)}
    return [
        {
            positions[value.owner]
            for reader in (operation, *stablehlo.operations(operation))
            for value in reader.operands
            if isinstance(value, ir.OpResult) and value.owner in positions
        }
        for operation in operations
    ]


def _depths(producers: Sequence[Iterable[int]], sums: set[int]) -> list[int]:
    """Returns through how many sums, one after another, each operation's operands have come."""
    depths: list[int] = []
    for read in producers:
        depths.append(max((depths[index] + (index in sums) for index in read), default=0))
    return depths


def _groups(operations: Sequence[Any], sums: set[int], depths: Sequence[int]) -> list[tuple[int, ...]]:
    """Returns the sums that become one: of the same depth, none of them can depend on another."""
    groups = defaultdict(list)
    for index in sorted(sums):
        attributes = operations[index].attributes
        over = [str(attributes[name]) for name in ("replica_groups", "use_global_device_ids") if name in attributes]
        dtype = stablehlo.tensor_type(operations[index].operands[0].type).dtype
        groups[depths[index], dtype, *over].append(index)
    return [tuple(group) for group in groups.values()]


def _order(producers: Sequence[set[int]], groups: Iterable[tuple[int, ...]]) -> Iterator[tuple[int, ...]]:
    """Yields operations, a group as one, each after all that it reads, and otherwise in the order in which they are."""
    node_of = {index: (index,) for index in range(len(producers))} | {
        index: group for group in groups for index in group
    }
    missing = {node: {node_of[read] for index in node for read in producers[index]} for node in node_of.values()}
    readers = defaultdict(list)
    for node, read in missing.items():
        for other in read:
            readers[other].append(node)
    ready = [(node[-1], node) for node, read in missing.items() if not read]
    heapq.heapify(ready)
    while ready:
        _, node = heapq.heappop(ready)
        yield node
        for reader in readers[node]:
            missing[reader].remove(node)
            if not missing[reader]:
                heapq.heappush(ready, (reader[-1], reader))


def _sum_together(sums: Sequence[Any], place: Any) -> None:
    """Puts one sum of a vector at `place` instead of `sums`, and reads their results from it."""
    operands = [operation.operands[0] for operation in sums]
    sizes = [math.prod(stablehlo.tensor_type(operand.type).shape) for operand in operands]
    element_type = ir.RankedTensorType(operands[0].type).element_type
    pieces = [
        _create("reshape", [operand], ir.RankedTensorType.get([size], element_type), place)
        for operand, size in zip(operands, sizes, strict=True)
    ]
    vector_type = ir.RankedTensorType.get([sum(sizes)], element_type)
    axis = {"dimension": ir.IntegerAttr.get(ir.IntegerType.get_signless(64), 0)}
    vector = _create("concatenate", pieces, vector_type, place, axis)
    total = _sum_like(sums[0], vector, place)
    for operation, end, size in zip(sums, np.cumsum(sizes).tolist(), sizes, strict=True):
        bounds = {"start_indices": end - size, "limit_indices": end, "strides": 1}
        attributes = {name: ir.DenseI64ArrayAttr.get([number]) for name, number in bounds.items()}
        piece = _create("slice", [total], ir.RankedTensorType.get([size], element_type), place, attributes)
        result = _create("reshape", [piece], operation.results[0].type, place)
        operation.results[0].replace_all_uses_with(result)
    for operation in sums:
        operation.erase()


def _create(name: str, operands: Sequence[Any], result_type: Any, place: Any, attributes: Any = None) -> Any:
    return ir.Operation.create(
        f"stablehlo.{name}", results=[result_type], operands=operands, attributes=attributes or {}, ip=place
    ).results[0]


def _sum_like(operation: Any, vector: Any, place: Any) -> Any:
    attributes = {name: operation.attributes[name] for name in _names(operation.attributes)}
    total = ir.Operation.create(
        operation.name,
        results=[vector.type],
        operands=[vector],
        attributes=attributes,
        regions=1,
        loc=operation.location,
        ip=place,
    )
    operation.regions[0].blocks[0].append_to(total.regions[0])
    return total.results[0]


def _names(attributes: Any) -> list[str]:
    return [item if isinstance(item, str) else item.name for item in attributes]
