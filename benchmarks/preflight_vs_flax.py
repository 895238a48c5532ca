"""Our ResNet-50 training step beside flax's, both compiled by the same TPU compiler: HBM traffic, memory, flops.

    python -m benchmarks.preflight_vs_flax --tpu_type=v5e --per_replica_batch_size=64 [--batch_norm_from_inputs=false]

Settings of the configuration change our side. Both are compiled for one device, whatever the chip has.
flax is installed into a directory of its own, since the project does not depend on it. Each compilation takes minutes.
"""

import argparse
import dataclasses
import json
import pathlib
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Mapping
from typing import Any

from trainer import presets
from trainer.config import parse_overrides
from trainer.engine import topology as tpu_topology
from trainer.preflight import compile_worker, compiler, hlo, image_training

FLAX_REQUIREMENTS = ("flax==0.12.8", "optax==0.2.8")
_PRESET = "imagenet_resnet50"


@dataclasses.dataclass(frozen=True)
class Measured:
    """One program on one device."""

    program: str
    hbm_traffic_gb: float
    temporary_gb: float
    tflop: float


def main() -> None:
    """Compiles both and prints a table."""
    arguments, settings = _parser().parse_known_args()
    topology = tpu_topology.parse(arguments.tpu_type)
    rows = [
        _flax(topology, arguments.per_replica_batch_size, pathlib.Path(arguments.work_dir)),
        _ours(topology, arguments.per_replica_batch_size, parse_overrides(settings)),
    ]
    print(f"ResNet-50 training step, {topology.name}, batch {arguments.per_replica_batch_size} on one device")
    print(f"{'':<8}{'HBM traffic':>14}{'temporary HBM':>16}{'arithmetic':>14}")
    for row in rows:
        print(f"{row.program:<8}{row.hbm_traffic_gb:>11.2f} GB{row.temporary_gb:>13.3f} GB{row.tflop:>8.3f} TFLOP")
    flax, ours = rows
    print(f"ours / flax: traffic {ours.hbm_traffic_gb / flax.hbm_traffic_gb:.3f}", end=", ")
    print(f"temporary {ours.temporary_gb / flax.temporary_gb:.3f}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tpu_type", default="v5e", help="topology (%(default)s)")
    parser.add_argument("--per_replica_batch_size", type=int, default=64, help="(%(default)s)")
    parser.add_argument("--work_dir", default=str(compiler.default_cache_dir() / "flax"), help="(%(default)s)")
    return parser


def _ours(topology: tpu_topology.Topology, batch_size: int, settings: Mapping[str, Any]) -> Measured:
    config = presets.get(_PRESET).config.replace(global_batch_size=batch_size, **settings)
    workload = image_training.image_workload(config, num_classes=1000, num_train_examples=1_281_167)
    compiled = compiler.TpuCompiler().compile(workload.step.lower(batch_size, num_replicas=1), topology)
    return _measured("ours", compiled.figures, compiled.traffic)


def _flax(topology: tpu_topology.Topology, batch_size: int, work_dir: pathlib.Path) -> Measured:
    python = _flax_python(work_dir)
    with tempfile.TemporaryDirectory() as name:
        directory = pathlib.Path(name)
        command = [python, "-m", "benchmarks.flax_resnet50_compile", topology.name, str(batch_size), name]
        subprocess.run(command, env=compile_worker.environment(directory), check=True)
        result = json.loads((directory / compile_worker.RESULT_FILE).read_text())
        traffic = hlo.hbm_traffic(compile_worker.scheduled_program(directory))
    return _measured("flax", compile_worker.CompilerFigures(**result), traffic)


def _flax_python(work_dir: pathlib.Path) -> str:
    """Returns an interpreter that sees this one's packages, and flax."""
    python = work_dir / "bin" / "python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", str(work_dir)], check=True)
        (packages,) = work_dir.glob("lib/python*/site-packages")
        (packages / "project.pth").write_text(sysconfig.get_path("purelib"))
        subprocess.run([str(python), "-m", "pip", "install", "--quiet", *FLAX_REQUIREMENTS], check=True)
    return str(python)


def _measured(program: str, figures: compile_worker.CompilerFigures, traffic: tuple[hlo.Traffic, ...]) -> Measured:
    return Measured(
        program=program,
        hbm_traffic_gb=sum(item.num_bytes for item in traffic) / 1e9,
        temporary_gb=figures.temporary_bytes / 1e9,
        tflop=figures.flops / 1e12,
    )


if __name__ == "__main__":
    main()
