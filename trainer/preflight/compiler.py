"""Compiles step programs for TPU topologies with the real TPU compiler, and remembers what it said."""

import contextlib
import dataclasses
import hashlib
import importlib.metadata
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from typing import Any

from absl import logging

from trainer.engine import pjrt_step, stablehlo
from trainer.engine import topology as tpu_topology
from trainer.errors import UserError
from trainer.preflight import compile_worker, hlo

# Raised when what is stored, or how it is counted, changes.
_CACHE_FORMAT = 3
_POLL_INTERVAL_SECS = 0.5
# The compiler says so before it places anything, or, where the program nearly fits, after.
_OUT_OF_MEMORY = re.compile(
    r"total memory required for (?P<what>[^(]+?) \((?P<needed>[\d.]+\w)\) exceeds available HBM "
    r"\((?P<available>[\d.]+\w)\)"
    r"|Used (?P<used>[\d.]+\w) of (?P<capacity>[\d.]+\w) hbm"
)
_FAILED_CHECK = re.compile(r"^F\d{4} [^\]]*\] (.+)$", re.MULTILINE)
_MOST_MESSAGE_CHARACTERS = 600
# Runs the module of this very package, also where that is a checkout which is not installed.
_START_WORKER = """
import runpy, sys
folder, module = sys.argv.pop(1), sys.argv.pop(1)
if folder not in sys.path:
    sys.path.insert(0, folder)
runpy.run_module(module, run_name="__main__", alter_sys=True)
"""
_OUR_FOLDER = str(pathlib.Path(compile_worker.__file__).parents[2])


@dataclasses.dataclass(frozen=True)
class StepToCompile:
    """A step program for one of `num_replicas` replicas, and how its inputs and results are meant."""

    program: stablehlo.Program
    interface: pjrt_step.StepInterface
    num_replicas: int
    variable_names: tuple[str, ...] = ()

    @property
    def state_bytes(self) -> int:
        """Bytes of the variables."""
        return sum(item.num_bytes for item in self.program.inputs[self.interface.num_batch_inputs :])


@dataclasses.dataclass(frozen=True)
class CompiledStep:
    """A compiled step; figures are of one device and one step."""

    figures: compile_worker.CompilerFigures
    traffic: tuple[hlo.Traffic, ...]
    is_from_cache: bool

    @property
    def hbm_traffic_bytes(self) -> int:
        """Bytes moved through HBM."""
        return sum(item.num_bytes for item in self.traffic)

    @property
    def hbm_peak_bytes(self) -> int:
        """HBM that the program needs at once."""
        figures = self.figures
        held = figures.argument_bytes + figures.output_bytes - figures.alias_bytes
        return held + figures.temporary_bytes + figures.code_bytes


class CompilerRefusalError(UserError):
    """The compiler does not take the program for this topology."""


class DoesNotFitError(CompilerRefusalError):
    """The program needs more memory than a device has."""


Progress = Callable[[float], None]  # called about twice a second with the seconds since the compiler started


def _ignore_progress(elapsed_secs: float) -> None:
    del elapsed_secs


def default_cache_dir() -> pathlib.Path:
    """Returns where compilations are remembered: `tpu-images/preflight` in the user's cache directory."""
    root = os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache"
    return pathlib.Path(root) / "tpu-images" / "preflight"


@dataclasses.dataclass(frozen=True)
class TpuCompiler:
    """Compiles, through a cache: an entry for each program, topology, and version of the compiler and of JAX."""

    cache_dir: pathlib.Path = dataclasses.field(default_factory=default_cache_dir)
    progress: Progress = _ignore_progress

    def compile(self, step: StepToCompile, topology: tpu_topology.Topology) -> CompiledStep:
        """Returns the step compiled for as many devices of `topology` as it has replicas.

        Raises:
          DoesNotFitError: when a device has too little memory for it.
          CompilerRefusalError: when the compiler refuses it for another reason.
          UserError: when the compiler is not installed, or stops.
        """
        entry = self.cache_dir / f"{_cache_key(step, topology)}.json"
        answer = _remembered(entry)
        if answer is None:
            stored = _compile_in_process(step, topology, self.progress)
            _remember(entry, stored)
            answer = _answer(stored, is_from_cache=False)
        if isinstance(answer, str):
            remedy = "use a smaller batch per replica, or more devices"
            raise DoesNotFitError(answer, where=topology.name, remedy=remedy)
        return answer


def _cache_key(step: StepToCompile, topology: tpu_topology.Topology) -> str:
    versions = [_version(distribution) for distribution in ("libtpu", "jax", "jaxlib")]
    target = [topology.name, step.num_replicas]
    parts = [_CACHE_FORMAT, step.program.digest, dataclasses.astuple(step.interface), target, versions]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def _version(distribution: str) -> str:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError as error:
        remedy = "pip install 'tpu-images[preflight]'"
        raise UserError(f"{distribution} is not installed", where="TPU compiler", remedy=remedy) from error


def _compile_in_process(step: StepToCompile, topology: tpu_topology.Topology, progress: Progress) -> dict[str, Any]:
    """Returns what is stored of a compilation: its figures and traffic, or the misfit."""
    with tempfile.TemporaryDirectory(prefix="preflight-") as name:
        directory = pathlib.Path(name)
        request = compile_worker.Request(topology.name, step.num_replicas, **dataclasses.asdict(step.interface))
        (directory / compile_worker.PROGRAM_FILE).write_bytes(step.program.portable_bytes)
        (directory / compile_worker.REQUEST_FILE).write_text(json.dumps(dataclasses.asdict(request)))
        _run_worker(directory, topology, progress)
        result = json.loads((directory / compile_worker.RESULT_FILE).read_text())
        if "error" in result:
            return {"misfit": _misfit(result["error"], topology)}
        traffic = hlo.hbm_traffic(compile_worker.scheduled_program(directory))
        return {"figures": result, "traffic": [dataclasses.asdict(item) for item in traffic]}


def _run_worker(directory: pathlib.Path, topology: tpu_topology.Topology, progress: Progress) -> None:
    # -P: many a program has a package `trainer` of its own, in the folder that it is started from.
    start = [sys.executable, "-P", "-c", _START_WORKER, _OUR_FOLDER, compile_worker.__name__]
    command = [*start, str(directory), str(os.getpid())]
    environment = compile_worker.environment(directory)
    log = directory / "stderr.txt"
    with log.open("w") as stderr, subprocess.Popen(command, env=environment, stderr=stderr) as process:
        try:
            _wait(process, progress)
        except BaseException:  # Ctrl-C among them: the compiler does not answer it
            process.kill()
            process.wait()
            raise
    if process.returncode != 0:
        last_words = _last_words(log.read_text(errors="replace"))
        raise UserError(
            f"the TPU compiler stopped with status {process.returncode} ({last_words})", where=topology.name
        )


def _last_words(log: str) -> str:
    """Returns why a process stopped: the check that failed, without what handles the crash, or else the log's end."""
    failed_checks = _FAILED_CHECK.findall(log)
    return (failed_checks[0] if failed_checks else log[-_MOST_MESSAGE_CHARACTERS:]).strip()


def _wait(process: subprocess.Popen, progress: Progress) -> None:
    start_secs = time.monotonic()
    while process.poll() is None:
        progress(time.monotonic() - start_secs)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(_POLL_INTERVAL_SECS)


def _misfit(message: str, topology: tpu_topology.Topology) -> str:
    """Returns what needs too much memory, in words; raises CompilerRefusalError on any other message."""
    memory = _OUT_OF_MEMORY.search(message)
    if not memory:
        shortened = message[:_MOST_MESSAGE_CHARACTERS]
        raise CompilerRefusalError(f"the TPU compiler refuses the program ({shortened})", where=topology.name)
    what, needed = memory["what"] or "program and arguments", memory["needed"] or memory["used"]
    return f"does not fit: {what} need {needed}iB of HBM, a device has {memory['available'] or memory['capacity']}iB"


def _remembered(entry: pathlib.Path) -> CompiledStep | str | None:
    """Returns what `_answer` makes of a cache entry; None when there is none, or none that can be read."""
    try:
        return _answer(json.loads(entry.read_text()), is_from_cache=True)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        logging.warning("%s cannot be read (%s): compiling again", entry, error)
        return None


def _answer(stored: dict[str, Any], *, is_from_cache: bool) -> CompiledStep | str:
    """Returns the compiled step that was stored, or what does not fit."""
    if "misfit" in stored:
        return str(stored["misfit"])
    return CompiledStep(
        figures=compile_worker.CompilerFigures(**stored["figures"]),
        traffic=tuple(hlo.Traffic(**item) for item in stored["traffic"]),
        is_from_cache=is_from_cache,
    )


def _remember(entry: pathlib.Path, stored: dict[str, Any]) -> None:
    """Writes a cache entry in one go. Where that is impossible the answer stands, and is not remembered."""
    try:
        entry.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=entry.parent) as directory:
            written = pathlib.Path(directory) / entry.name
            written.write_text(json.dumps(stored))
            os.replace(written, entry)
    except OSError as error:
        logging.warning("this compilation is not remembered (%s): name another --cache_dir", error)
