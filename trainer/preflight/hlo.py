"""Reads the scheduled program that the TPU compiler prints: its operations, and the bytes each moves through HBM.

The compiler's own `bytes accessed` is not HBM traffic: from TPU v4 on it counts what is prefetched into on-chip
memory twice. Counted here are the operands and results of the scheduled entry computation that live in HBM; those in
another memory space, written `S(1)` in their layout, are on the chip. Of an asynchronous pair the start counts, the
end does not.
"""

import dataclasses
import math
import re
from collections.abc import Iterable, Iterator, Mapping

_BITS_PER_ELEMENT = {
    "pred": 8,
    "bf16": 16,
    "token": 0,
    "opaque": 0,
    "c64": 64,
    "c128": 128,
    "f8e4m3fn": 8,
    "f8e5m2": 8,
}
# These name or regroup buffers, and move nothing.
_FREE_OPCODES = frozenset(
    ("parameter", "constant", "tuple", "get-tuple-element", "bitcast", "after-all", "partition-id", "opt-barrier")
)
# A call to another core of the chip. On tpu7x it starts empty, is given its operands by an update, and has its result
# when it is done; elsewhere all is told at the start.
_ASYNCHRONOUS_CALL = frozenset(("async-start", "async-update", "async-done"))
# Program calls one computation from another: what it moves is what the callee moves.
_CALLED_COMPUTATIONS = {
    "while": re.compile(r"body=%?([\w.-]+)"),
    "call": re.compile(r"to_apply=%?([\w.-]+)"),
    "conditional": re.compile(r"branch_computations=\{([^}]*)\}"),
}
_TRIP_COUNT = re.compile(r'"known_trip_count":\{"n":"(\d+)"')
_ARRAY_TYPE = re.compile(r"([a-z]\w*)\[([\d,<=]*)\](?:\{([^{}]*)\})?")
_COMPUTATION = re.compile(r"^(ENTRY )?%?([\w.-]+) \(.*\) -> .* \{$")
_INSTRUCTION = re.compile(r"^\s+(?:ROOT )?%?([\w.-]+) = (.*)$")
_OPCODE = re.compile(r"\s*([a-z][\w-]*)\(")
_OPERAND_NAME = re.compile(r"%([\w.-]+)")
_OP_NAME = re.compile(r'metadata=\{[^}]*?op_name="([^"]*)"')
# What JAX puts before the names of the traced program's own operations.
_CALL_PREFIX = re.compile(r"^.*?call_exported(?:_\w+)?/")


@dataclasses.dataclass(frozen=True)
class ArrayType:
    """One array: its bytes, and whether it lives in HBM."""

    num_bytes: int
    is_in_hbm: bool


@dataclasses.dataclass(frozen=True)
class Instruction:
    """One line of a computation."""

    name: str
    opcode: str
    results: tuple[ArrayType, ...]
    operand_names: tuple[str, ...]
    attributes: str

    @property
    def op_name(self) -> str:
        """The operation of the traced program that this one comes from, such as `conv1/Conv2D`; empty when unknown."""
        match = _OP_NAME.search(self.attributes)
        return _CALL_PREFIX.sub("", match.group(1)) if match else ""


@dataclasses.dataclass(frozen=True)
class Traffic:
    """Bytes that one operation of the scheduled program moves through HBM, over all its executions in a step."""

    name: str
    opcode: str
    op_name: str
    read_bytes: int
    written_bytes: int

    @property
    def num_bytes(self) -> int:
        """Read and written together."""
        return self.read_bytes + self.written_bytes


def hbm_traffic(hlo_text: str) -> tuple[Traffic, ...]:
    """Returns what each operation of the scheduled module moves through HBM in one execution, in program order."""
    computations, entry_name = _parse_module(hlo_text)
    return tuple(_computation_traffic(computations, entry_name, num_executions=1))


def _computation_traffic(
    computations: Mapping[str, Mapping[str, Instruction]], name: str, num_executions: int
) -> Iterator[Traffic]:
    instructions = computations[name]
    for instruction in instructions.values():
        if instruction.opcode in _CALLED_COMPUTATIONS:
            callees, num_trips = _callees(instruction)
            branches = [
                list(_computation_traffic(computations, callee, num_executions * num_trips)) for callee in callees
            ]
            yield from max(branches, key=lambda branch: sum(item.num_bytes for item in branch))
        elif _moves_bytes(instructions, instruction):
            yield _instruction_traffic(instructions, instruction, num_executions)


def _moves_bytes(instructions: Mapping[str, Instruction], instruction: Instruction) -> bool:
    if instruction.opcode in _ASYNCHRONOUS_CALL and not _starts_with_operands(instructions, instruction):
        return instruction.opcode != "async-start"
    return instruction.opcode not in _FREE_OPCODES and not instruction.opcode.endswith(("-update", "-done"))


def _starts_with_operands(instructions: Mapping[str, Instruction], instruction: Instruction) -> bool:
    """Whether the asynchronous call that this is a part of knows its operands from the start."""
    while instruction.opcode != "async-start":
        instruction = instructions[instruction.operand_names[0]]
    return bool(instruction.operand_names)


def _callees(instruction: Instruction) -> tuple[list[str], int]:
    match = _CALLED_COMPUTATIONS[instruction.opcode].search(instruction.attributes)
    if match is None:
        raise ValueError(f"no computation is named in {instruction}")
    trips = _TRIP_COUNT.search(instruction.attributes)
    return [part.strip().lstrip("%") for part in match.group(1).split(",")], int(trips.group(1)) if trips else 1


def _instruction_traffic(
    instructions: Mapping[str, Instruction], instruction: Instruction, num_executions: int
) -> Traffic:
    operands = list(_results_of(instructions, instruction.operand_names))
    results = list(instruction.results)
    if instruction.opcode.endswith("-start"):
        operands, results = _transfer_ends(operands, results)
    elif instruction.opcode == "async-update":
        # Its first operand is the call itself, and its result the call's scratch space and ends.
        operands, results = list(_results_of(instructions, instruction.operand_names[1:])), []
    elif instruction.opcode == "async-done":
        operands = []
    return Traffic(
        name=instruction.name,
        opcode=instruction.opcode,
        op_name=_traced_name(instructions, instruction),
        read_bytes=_hbm_bytes(operands) * num_executions,
        written_bytes=_hbm_bytes(results) * num_executions,
    )


def _results_of(instructions: Mapping[str, Instruction], names: Iterable[str]) -> Iterator[ArrayType]:
    return (array for name in names for array in instructions[name].results)


def _traced_name(instructions: Mapping[str, Instruction], instruction: Instruction) -> str:
    """Returns the traced operation; of sums over replicas that the compiler made one of, how many tensors they sum.

    It gives them the name of one, whose layer has little to do with what they move.
    """
    name = _origin(instructions, instruction)
    num_tensors = len(instruction.operand_names)
    if instruction.opcode.startswith("all-reduce") and num_tensors > 1:
        return f"{num_tensors} tensors/{name.rpartition('/')[2]}"
    return name


def _origin(instructions: Mapping[str, Instruction], instruction: Instruction) -> str:
    """Returns the traced operation of an instruction; of a copy that the compiler added, that of what is copied."""
    while not instruction.op_name and instruction.operand_names:
        instruction = instructions[instruction.operand_names[0]]
    return instruction.op_name


def _transfer_ends(operands: list[ArrayType], results: list[ArrayType]) -> tuple[list[ArrayType], list[ArrayType]]:
    """Returns (sources, destinations) of an asynchronous start, both of the size that is moved.

    Its result names the operands again beside the destination; a slice moves less than its operand holds.
    """
    destinations = list(results)
    if len(results) > len(operands):
        for operand in operands:
            if operand in destinations:
                destinations.remove(operand)
    moved_bytes = sum(array.num_bytes for array in destinations)
    sources = [dataclasses.replace(array, num_bytes=min(array.num_bytes, moved_bytes)) for array in operands]
    return sources, destinations


def _hbm_bytes(arrays: Iterable[ArrayType]) -> int:
    return sum(array.num_bytes for array in arrays if array.is_in_hbm)


def _parse_module(hlo_text: str) -> tuple[dict[str, dict[str, Instruction]], str]:
    """Returns instructions by name, by computation; and the name of the entry computation."""
    computations: dict[str, dict[str, Instruction]] = {}
    entry_name = ""
    current: dict[str, Instruction] = {}
    for line in hlo_text.splitlines():
        if header := _COMPUTATION.match(line):
            current = computations.setdefault(header.group(2), {})
            entry_name = header.group(2) if header.group(1) else entry_name
        elif match := _INSTRUCTION.match(line):
            instruction = _parse_instruction(*match.groups())
            current[instruction.name] = instruction
    if not entry_name:
        raise ValueError("this is no HLO module: it has no ENTRY computation")
    return computations, entry_name


def _parse_instruction(name: str, text: str) -> Instruction:
    type_end = _end_of_type(text)
    opcode = _OPCODE.match(text, type_end)
    if opcode is None:
        raise ValueError(f"no opcode in {text[:200]!r}")
    operands_end = _closing_parenthesis(text, opcode.end() - 1)
    return Instruction(
        name=name,
        opcode=opcode.group(1),
        results=tuple(_array_types(text[:type_end])),
        operand_names=tuple(_OPERAND_NAME.findall(text[opcode.end() : operands_end])),
        attributes=text[operands_end + 1 :],
    )


def _end_of_type(text: str) -> int:
    """Returns where a type ends: after its closing parenthesis for a tuple, at the first blank for an array."""
    return _closing_parenthesis(text, 0) + 1 if text.startswith("(") else text.index(" ")


def _closing_parenthesis(text: str, start: int) -> int:
    depth = 0
    for index in range(start, len(text)):
        depth += {"(": 1, ")": -1}.get(text[index], 0)
        if depth == 0:
            return index
    raise ValueError(f"unbalanced parentheses in {text[:200]!r}")


def _array_types(text: str) -> Iterator[ArrayType]:
    for element_type, dimensions, layout in _ARRAY_TYPE.findall(text):
        num_elements = math.prod(int(size.lstrip("<=")) for size in dimensions.split(",") if size)
        num_bits = num_elements * _bits_per_element(element_type)
        yield ArrayType(num_bytes=-(-num_bits // 8), is_in_hbm="S(" not in layout)


def _bits_per_element(element_type: str) -> int:
    if element_type in _BITS_PER_ELEMENT:
        return _BITS_PER_ELEMENT[element_type]
    digits = re.search(r"\d+", element_type)
    if digits is None:
        raise ValueError(f"an element type of unknown size: {element_type}")
    return int(digits.group())
