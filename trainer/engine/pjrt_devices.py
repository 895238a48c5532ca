"""The devices that JAX finds: TPU chips, GPUs, or virtual CPU devices that pretend to be replicas.

Of several hosts too: each runs the same program, feeds its own devices, and sees those of all.
"""

import contextlib
import dataclasses
import os
import re
from typing import Any

import jax

from trainer.errors import UserError

_MOCK_TARGET = re.compile(r"mock:([1-9]\d*)")


@dataclasses.dataclass(frozen=True)
class DeviceSet:
    """Devices of one platform, those of all processes; replica `i` runs on `devices[i]`.

    `platform` is the name by which JAX lowers programs: `tpu`, `cuda`, `rocm` or `cpu`.
    """

    platform: str
    devices: tuple[Any, ...]

    def __str__(self) -> str:
        return f"{len(self.devices)} x {self.devices[0].device_kind} ({self.platform})"


def available() -> DeviceSet | None:
    """Returns the TPU or GPU devices that JAX finds; None on a machine with CPUs alone.

    JAX is asked for its default devices only: asking for a TPU by name makes libtpu start and complain where none is.
    """
    _join_processes()
    found = DeviceSet(_lowering_platform(jax.devices()[0]), tuple(jax.devices()))
    return None if found.platform == "cpu" else found


def select(target: str) -> DeviceSet:
    """Returns the devices that a user means.

    Args:
      target: `local` (TPU chips of this host, or of the slice that this process is part of), `gpu`, or `mock:N` (N
        virtual CPU devices in each process).

    Raises:
      UserError: when there are none, `target` is none of these, or the environment tells of other processes only in
        part.
    """
    _join_processes()
    if match := _MOCK_TARGET.fullmatch(target):
        return _virtual_devices(int(match.group(1)))
    if target not in ("local", "gpu"):
        remedy = "write local, mock:8 (eight virtual CPU devices), or nothing to take what is here"
        raise UserError("no such device", where=f"--tpu={target}", remedy=remedy)
    found = available()
    if found and (found.platform == "tpu") == (target == "local"):
        return found
    raise UserError(
        f"JAX finds no {'TPU' if target == 'local' else 'GPU'} on this machine",
        where=f"--tpu={target}",
        remedy="install the extra for it (tpu or gpu) on a machine that has one, or try --tpu=mock:8 on the CPU",
    )


def _join_processes() -> None:
    """Joins the processes of a training on several hosts, before JAX looks for devices.

    The hosts of a TPU slice find one another. Elsewhere the environment tells of them: `JAX_COORDINATOR_ADDRESS`
    (host:port of process 0), `JAX_NUM_PROCESSES` and `JAX_PROCESS_ID`; without them the process stays alone.
    """
    if "JAX_COORDINATOR_ADDRESS" not in os.environ or jax.distributed.is_initialized():
        return
    missing = [name for name in ("JAX_NUM_PROCESSES", "JAX_PROCESS_ID") if name not in os.environ]
    if missing:
        raise UserError("not set in the environment", where=", ".join(missing), remedy="set it for every process")
    jax.distributed.initialize(
        num_processes=int(os.environ["JAX_NUM_PROCESSES"]), process_id=int(os.environ["JAX_PROCESS_ID"])
    )


def _lowering_platform(device: Any) -> str:
    if device.platform == "gpu":
        return "rocm" if "rocm" in device.client.platform_version.lower() else "cuda"
    return device.platform


def _virtual_devices(num_devices: int) -> DeviceSet:
    """Returns `num_devices` CPU devices of each process.

    JAX fixes their number when it first looks for devices; until then it can be set.
    """
    with contextlib.suppress(RuntimeError):  # JAX has looked already: what it found must do
        jax.config.update("jax_num_cpu_devices", max(num_devices, jax.config.values["jax_num_cpu_devices"]))
        jax.config.update("jax_platforms", "cpu")  # else JAX takes a TPU that is here, and keeps others from it
    by_process: dict[int, list[Any]] = {}
    for device in jax.devices("cpu"):
        by_process.setdefault(device.process_index, []).append(device)
    if any(len(devices) < num_devices for devices in by_process.values()):
        raise UserError(
            f"JAX is running already, with {jax.local_device_count('cpu')} CPU device(s)",
            where=f"--tpu=mock:{num_devices}",
            remedy="choose it before anything else uses JAX, or set JAX_NUM_CPU_DEVICES for the process",
        )
    return DeviceSet("cpu", tuple(device for devices in by_process.values() for device in devices[:num_devices]))
