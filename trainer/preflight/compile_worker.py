"""Compiles one program in a process of its own: `python -m trainer.preflight.compile_worker DIRECTORY CALLER_ID`.

The TPU compiler wants its environment set before JAX starts, aborts the whole process on some programs, and cannot be
interrupted. In a process of its own it does none of that to the caller, whose JAX may be using other devices.

The directory holds `program.mlirbc` and `request.json` (a `Request`); the worker adds `result.json` (a
`CompilerFigures`, or `{"error": ...}` where the compiler refused the program). In the environment that
`environment(directory)` returns, the compiler writes the scheduled program there; `scheduled_program` reads it.
"""

import ctypes
import dataclasses
import json
import os
import pathlib
import signal
import sys
import time
from typing import Any

from trainer.engine import pjrt_step, stablehlo, topology
from trainer.errors import UserError

PROGRAM_FILE = "program.mlirbc"
REQUEST_FILE = "request.json"
RESULT_FILE = "result.json"
_PR_SET_PDEATHSIG = 1  # linux/prctl.h; the compiler is there for Linux alone
_DUMP_DIRECTORY = "dump"
_SCHEDULED_FILES = f"{_DUMP_DIRECTORY}/*.jit_*.after_codegen.txt"


@dataclasses.dataclass(frozen=True)
class Request:
    """The first `num_devices` of a topology, and the fields of the program's `pjrt_step.StepInterface`."""

    topology_name: str
    num_devices: int
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


def environment(directory: pathlib.Path) -> dict[str, str]:
    """Returns this process's environment with what one that compiles in `directory` needs.

    The compiler is asked to write its programs down, because JAX cannot print those of tpu7x: the compiler moves sums
    over replicas to the sparse cores by operations that JAX's copy of XLA does not read back.
    """
    dump = f"--xla_dump_to={directory / _DUMP_DIRECTORY} --xla_dump_hlo_as_text"
    flags = f"{os.environ.get('XLA_FLAGS', '')} {dump}".strip()
    return {**os.environ, **topology.COMPILER_ENVIRONMENT, "XLA_FLAGS": flags}


def scheduled_program(directory: pathlib.Path) -> str:
    """Returns the text of the program that was compiled in `directory`, as the device runs it.

    Raises:
      UserError: when the compiler wrote none.
    """
    # Small programs that JAX compiles on the way are written as well.
    largest = max(directory.glob(_SCHEDULED_FILES), key=lambda path: path.stat().st_size, default=None)
    if largest is None:
        raise UserError(
            "the TPU compiler did not write down the program that it scheduled",
            where="TPU compiler",
            remedy="unset XLA_FLAGS and LIBTPU_INIT_ARGS, or install the libtpu of the extra `preflight`",
        )
    return largest.read_text()


def main(directory: pathlib.Path, caller_id: int) -> None:
    """Compiles the program in `directory` for the process `caller_id`, as long as that one lives."""
    _end_with_caller(caller_id)
    request = Request(**json.loads((directory / REQUEST_FILE).read_text()))
    try:
        result = dataclasses.asdict(_compile(directory, request))
    except Exception as error:  # the caller decides which of them are the user's to mend
        result = {"error": str(error)}
    (directory / RESULT_FILE).write_text(json.dumps(result))


def _end_with_caller(caller_id: int) -> None:
    """Asks Linux to kill this process when its caller ends, however that happens: nobody would read the answer."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != caller_id:
        sys.exit("the caller has ended")


def _compile(directory: pathlib.Path, request: Request) -> CompilerFigures:
    program = stablehlo.read((directory / PROGRAM_FILE).read_bytes())
    devices = topology.compile_only_devices(topology.parse(request.topology_name))
    mesh = pjrt_step.replica_mesh(devices[: request.num_devices])
    interface = pjrt_step.StepInterface(request.num_batch_inputs, tuple(request.is_per_replica))
    step = pjrt_step.ReplicatedStep(program, interface, mesh, platform="tpu")
    start_secs = time.monotonic()
    compiled = step.compile()
    return figures(compiled, time.monotonic() - start_secs)


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
    main(pathlib.Path(sys.argv[1]), caller_id=int(sys.argv[2]))
