"""The TPU types that the compiler of `libtpu` knows by name, and what their chips can do.

A topology is written `TYPE:SHAPE`, such as `v5e:2x4`: 2 x 4 chips of TPU v5e. No TPU is needed to compile for one.
"""

import dataclasses
import math
import re
import types
from collections.abc import Mapping, Sequence
from typing import Any

from trainer.errors import UserError

GIB = 2**30

# What the process that loads libtpu needs: no question to the metadata server of a TPU machine (it would wait for
# minutes), no device looked for, and no exclusive lock, which a second process or a running training would trip over.
COMPILER_ENVIRONMENT: Mapping[str, str] = types.MappingProxyType(
    {
        "TPU_SKIP_MDS_QUERY": "1",
        "JAX_PLATFORMS": "cpu",
        "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",
    }
)


@dataclasses.dataclass(frozen=True)
class TpuType:
    """A TPU generation. Figures are of one chip, as Google Cloud's TPU documentation gives them.

    `devices_per_chip` is the number of devices that JAX shows for a chip (cores on v2, v3, v4 and tpu7x); a device has
    that share of the chip's memory, bandwidth and arithmetic. `num_dimensions` is that of a shape, `2x4` or `2x2x1`.
    """

    name: str
    bfloat16_tflops: float
    hbm_gib: float
    hbm_gb_per_sec: float
    devices_per_chip: int
    num_dimensions: int
    device_program_hbm_gib: float

    @property
    def device_flops_per_sec(self) -> float:
        """Peak bfloat16 operations per second of one device."""
        return self.bfloat16_tflops * 1e12 / self.devices_per_chip

    @property
    def device_program_hbm_bytes(self) -> float:
        """HBM that a program may take on one device, bytes."""
        return self.device_program_hbm_gib * GIB

    @property
    def device_hbm_bytes_per_sec(self) -> float:
        """Peak HBM bandwidth of one device, bytes per second."""
        return self.hbm_gb_per_sec * 1e9 / self.devices_per_chip


TPU_TYPES: Mapping[str, TpuType] = types.MappingProxyType(
    {
        tpu_type.name: tpu_type
        for tpu_type in (
            TpuType("v2", 46, 16, 700, devices_per_chip=2, num_dimensions=2, device_program_hbm_gib=7.48),
            TpuType("v3", 123, 32, 900, devices_per_chip=2, num_dimensions=2, device_program_hbm_gib=15.48),
            TpuType("v4", 275, 32, 1230, devices_per_chip=2, num_dimensions=3, device_program_hbm_gib=15.25),
            TpuType("v5e", 197, 16, 820, devices_per_chip=1, num_dimensions=2, device_program_hbm_gib=15.75),
            TpuType("v5p", 459, 95, 2765, devices_per_chip=1, num_dimensions=3, device_program_hbm_gib=95.73),
            TpuType("v6e", 918, 32, 1640, devices_per_chip=1, num_dimensions=2, device_program_hbm_gib=31.24),
            TpuType("tpu7x", 2310, 192, 7400, devices_per_chip=2, num_dimensions=3, device_program_hbm_gib=94.74),
        )
    }
)

# Names that people and other tools use for the same chips.
_OTHER_NAMES: Mapping[str, str] = types.MappingProxyType(
    {"v5litepod": "v5e", "v5lite": "v5e", "v6lite": "v6e", "v7x": "tpu7x", "tpu7": "tpu7x", "v5": "v5p"}
)


@dataclasses.dataclass(frozen=True)
class Topology:
    """Chips of one type in a grid."""

    tpu_type: TpuType
    shape: tuple[int, ...]

    @property
    def name(self) -> str:
        """`v5e:2x4`."""
        return f"{self.tpu_type.name}:{'x'.join(map(str, self.shape))}"

    @property
    def num_chips(self) -> int:
        """Chips in the grid."""
        return math.prod(self.shape)

    @property
    def num_devices(self) -> int:
        """Devices, and so replicas, in the grid."""
        return self.num_chips * self.tpu_type.devices_per_chip


def parse(name: str) -> Topology:
    """Returns the topology called `name`: `v5e:2x4`, or `v5e` alone for one chip.

    Raises:
      UserError: on a type that the compiler does not know, or a shape of another form; it tells the known names.
    """
    type_name, _, shape_text = name.strip().lower().partition(":")
    tpu_type = TPU_TYPES.get(type_name)
    if tpu_type is None:
        raise _unknown_type(name, type_name)
    if not shape_text:
        return Topology(tpu_type, (1,) * tpu_type.num_dimensions)
    if not re.fullmatch(r"[1-9]\d*(x[1-9]\d*)*", shape_text) or shape_text.count("x") + 1 != tpu_type.num_dimensions:
        raise UserError(
            f"{shape_text!r} is no shape of TPU {tpu_type.name}",
            where=name,
            remedy=f"write chips along its {tpu_type.num_dimensions} dimensions, such as {_example(tpu_type)}",
        )
    return Topology(tpu_type, tuple(map(int, shape_text.split("x"))))


def _unknown_type(name: str, type_name: str) -> UserError:
    type_name, _, num_cores = type_name.partition("-")  # Google Cloud's names: v5litepod-8
    known_name = _OTHER_NAMES.get(type_name, type_name)
    hint = f"the compiler calls it {known_name}; " if type_name in _OTHER_NAMES else ""
    if num_cores and known_name in TPU_TYPES:
        hint = f"write {known_name} and its shape in chips, such as {_example(TPU_TYPES[known_name])}; "
    return UserError("no such TPU type", where=name or "(empty)", remedy=f"{hint}known types: {', '.join(TPU_TYPES)}")


def _example(tpu_type: TpuType) -> str:
    return f"{tpu_type.name}:2x2" + "x1" * (tpu_type.num_dimensions - 2)


def compile_only_devices(topology: Topology) -> Sequence[Any]:
    """Returns JAX devices of `topology` that programs can be compiled for, but not run on.

    Loads libtpu: the process must have been started with `COMPILER_ENVIRONMENT`.

    Raises:
      UserError: when libtpu is not installed or refuses the topology.
    """
    try:
        from jax.experimental import topologies  # noqa: PLC0415 (the table above is for those without JAX too)
    except ImportError as error:
        raise UserError("JAX is not installed", remedy="pip install 'tpu-images[preflight]'") from error
    host_bounds = {"chips_per_host_bounds": _chips_per_host(topology)}
    try:
        return topologies.get_topology_desc(topology.name, platform="tpu", **host_bounds).devices
    except Exception as error:  # jaxlib raises its own RuntimeError, and others where the plugin is missing
        raise UserError(f"the TPU compiler refuses this topology ({error})", where=topology.name) from error


def _chips_per_host(topology: Topology) -> list[int]:
    """Returns the grid of chips of one host, three numbers: 2x2 where the shape allows, one chip where it does not.

    Hosts do not change the compiled program of one device; the compiler only asks that they tile the grid.
    """
    rows, columns, *_ = topology.shape
    return [2, 2, 1] if rows % 2 == 0 and columns % 2 == 0 else [1, 1, 1]
