"""What the clouds offer: TPU generations, machine types, regions and prices, read from the editable files in `tables/`.

This module alone knows the form of those files. `load(directory)` takes a user's corrected copies in place of ours.
"""

import dataclasses
import math
import operator
import pathlib
import tomllib
from collections.abc import Mapping, Sequence
from typing import Any

from trainer.errors import UserError

_MACHINE_TABLES = operator.itemgetter("regions", "gpu_regions", "machines")
TABLES_DIRECTORY = pathlib.Path(__file__).parent / "tables"


@dataclasses.dataclass(frozen=True)
class TpuMachine:
    """A machine type of Vertex AI that carries TPU chips."""

    chips_per_host: int
    topologies: Sequence[str]


@dataclasses.dataclass(frozen=True)
class VertexTpu:
    """A TPU generation on Vertex AI; `accelerator_type` is empty when machine and topology say it all."""

    regions: Sequence[str]
    machines: Mapping[str, TpuMachine]
    accelerator_type: str = ""
    accelerator_count_per_chip: int = 0


@dataclasses.dataclass(frozen=True)
class CloudTpu:
    """A TPU generation on Cloud TPU virtual machines."""

    accelerator_prefix: str
    accelerator_count_per_chip: int
    single_host_chips: int
    runtime_version: str
    topologies: Sequence[str]
    zones: Sequence[str]


@dataclasses.dataclass(frozen=True)
class TpuGeneration:
    """A TPU generation; a service that does not have it is None."""

    devices_per_chip: int
    vertex: VertexTpu | None = None
    tpu_vm: CloudTpu | None = None


@dataclasses.dataclass(frozen=True)
class Prices:
    """US dollars. A missing entry is an unknown price, never zero."""

    as_of: str
    vertex_management_share: float
    tpu_chip_hour: Mapping[str, float]
    tpu_chip_hour_spot: Mapping[str, float]
    machine_hour: Mapping[str, float]
    gpu_hour: Mapping[str, float]
    storage: Mapping[str, float]


@dataclasses.dataclass(frozen=True)
class Catalogue:
    """Everything in the tables.

    `machines` maps a machine type to the GPUs it takes and their allowed counts; `gpu_regions` a GPU to its regions;
    `regions` are those of Vertex AI.
    """

    tpus: Mapping[str, TpuGeneration]
    machines: Mapping[str, Mapping[str, Sequence[int]]]
    gpu_regions: Mapping[str, Sequence[str]]
    regions: Sequence[str]
    prices: Prices


def load(directory: str = "") -> Catalogue:
    """Reads the tables; files in `directory` replace ours of the same name.

    Raises:
      UserError: when the directory has none of the files, or one does not have the form of ours.
    """
    own = pathlib.Path(directory) if directory else TABLES_DIRECTORY
    if not any((own / name).is_file() for name in ("tpus.toml", "machines.toml", "prices.toml")):
        remedy = f"copy a file from {TABLES_DIRECTORY} there and edit it"
        raise UserError("has none of tpus.toml, machines.toml, prices.toml", where=directory, remedy=remedy)
    regions, gpu_regions, machines = _read(own, "machines.toml", _MACHINE_TABLES)
    return Catalogue(
        tpus=_read(own, "tpus.toml", _tpus),
        machines=machines,
        gpu_regions=gpu_regions,
        regions=regions,
        prices=_read(own, "prices.toml", lambda table: Prices(**table)),
    )


def num_chips(topology: str) -> int:
    """Returns how many chips a topology such as `2x4` or `2x2x1` has; ValueError when it is not of that form."""
    return math.prod(int(side) for side in topology.split("x"))


def _read(own: pathlib.Path, name: str, parse: Any) -> Any:
    path = own / name if (own / name).is_file() else TABLES_DIRECTORY / name
    try:
        return parse(tomllib.loads(path.read_text(encoding="utf-8")))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, KeyError, TypeError, AttributeError) as error:
        remedy = f"compare it with {TABLES_DIRECTORY / name}"
        raise UserError(f"not such a table ({error!r})", where=str(path), remedy=remedy) from error


def _tpus(table: Mapping[str, Any]) -> dict[str, TpuGeneration]:
    return {name: _tpu_generation(**fields) for name, fields in table.items()}


def _tpu_generation(
    devices_per_chip: int, vertex: dict[str, Any] | None = None, tpu_vm: dict[str, Any] | None = None
) -> TpuGeneration:
    return TpuGeneration(
        devices_per_chip=devices_per_chip,
        vertex=None if vertex is None else _vertex_tpu(**vertex),
        tpu_vm=None if tpu_vm is None else CloudTpu(**tpu_vm),
    )


def _vertex_tpu(machines: Mapping[str, Any], **fields: Any) -> VertexTpu:
    return VertexTpu(machines={name: TpuMachine(**machine) for name, machine in machines.items()}, **fields)
