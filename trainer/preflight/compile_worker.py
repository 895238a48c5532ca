"""Compiles one program in a process of its own: `python -m trainer.preflight.compile_worker DIRECTORY`.

The TPU compiler wants its environment set before JAX starts, aborts the whole process on some programs, and cannot be
interrupted. In a process of its own it does none of that to the caller, whose JAX may be using other devices.

The directory holds `program.mlirbc` and `request.json` (a `Request`); the worker adds `scheduled.hlo` and
`result.json` (a `CompilerFigures`, or `{"error": ...}` where the compiler refused the program).
"""

import dataclasses
import json
import pathlib
import sys
import time
from typing import Any

from trainer.engine import pjrt_step, stablehlo, topology

PROGRAM_FILE = "program.mlirbc"
REQUEST_FILE = "request.json"
RESULT_FILE = "result.json"
SCHEDULED_FILE = "scheduled.hlo"


@dataclasses.dataclass(frozen=True)
class Request:
    """What to compile for, and the fields of the program's `pjrt_step.StepInterface`."""

    topology_name: str
    num_batch_inputs: int
    is_per_replica: tuple[bool, ...]


@dataclasses.dataclass(frozen=True)
class CompilerFigures:
    """What the compiler says of the program on one device. Bytes are its allocation plan in HBM, padding included.

    `flops` counts operations of one step; a multiply-add is two.
    """

    compile_secs: float
    argument_bytes: int
    output_bytes: int
    alias_bytes: int
    temporary_bytes: int
    code_bytes: int
    flops: float


def main(directory: pathlib.Path) -> None:
    """Compiles the program in `directory`."""
    request = Request(**json.loads((directory / REQUEST_FILE).read_text()))
    try:
        result = dataclasses.asdict(_compile(directory, request))
    except Exception as error:  # the caller decides which of them are the user's to mend
        result = {"error": str(error)}
    (directory / RESULT_FILE).write_text(json.dumps(result))


def _compile(directory: pathlib.Path, request: Request) -> CompilerFigures:
    program = stablehlo.read((directory / PROGRAM_FILE).read_bytes())
    mesh = pjrt_step.replica_mesh(topology.compile_only_devices(topology.parse(request.topology_name)))
    interface = pjrt_step.StepInterface(request.num_batch_inputs, tuple(request.is_per_replica))
    step = pjrt_step.ReplicatedStep(program, interface, mesh, platform="tpu")
    start_secs = time.monotonic()
    compiled = step.compile()
    compile_secs = time.monotonic() - start_secs
    (directory / SCHEDULED_FILE).write_text(compiled.as_text())
    return figures(compiled, compile_secs)


def figures(compiled: Any, compile_secs: float) -> CompilerFigures:
    """Returns what JAX's compiled program says of itself."""
    memory = compiled.memory_analysis()
    return CompilerFigures(
        compile_secs=compile_secs,
        argument_bytes=memory.argument_size_in_bytes,
        output_bytes=memory.output_size_in_bytes,
        alias_bytes=memory.alias_size_in_bytes,
        temporary_bytes=memory.temp_size_in_bytes,
        code_bytes=memory.generated_code_size_in_bytes,
        flops=compiled.cost_analysis().get("flops", 0.0),  # absent from a program without arithmetic
    )


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]))
