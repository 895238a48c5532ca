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

PROGRAM_FILE = "program.mlirbc"
REQUEST_FILE = "request.json"
RESULT_FILE = "result.json"
SCHEDULED_FILE = "scheduled.hlo"


@dataclasses.dataclass(frozen=True)
class Request:
    """What to compile for: a topology's name, and how many of the program's inputs are the batch."""

    topology_name: str
    num_batch_inputs: int


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
    # JAX is imported here, in the worker's own environment; the caller takes only the names above.
    from trainer.engine import pjrt_step, stablehlo, topology  # noqa: PLC0415

    program = stablehlo.read((directory / PROGRAM_FILE).read_bytes())
    mesh = pjrt_step.replica_mesh(topology.compile_only_devices(topology.parse(request.topology_name)))
    step = pjrt_step.ReplicatedStep(program, mesh, request.num_batch_inputs, platform="tpu")
    start_secs = time.monotonic()
    compiled = step.lower().compile()
    compile_secs = time.monotonic() - start_secs
    (directory / SCHEDULED_FILE).write_text(compiled.as_text())
    return _figures(compiled, compile_secs)


def _figures(compiled: Any, compile_secs: float) -> CompilerFigures:
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
