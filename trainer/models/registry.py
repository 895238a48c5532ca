"""The model table: every network by name, and what each costs."""

import dataclasses
from collections.abc import Iterator

from trainer.config import ModelConfig
from trainer.errors import UserError, nearest
from trainer.models import cost, resnet
from trainer.models.network import Network, NetworkEntry

ENTRIES: tuple[NetworkEntry, ...] = resnet.ENTRIES


def entry(name: str) -> NetworkEntry:
    """Returns the row called `name`; UserError with the nearest name otherwise."""
    for candidate in ENTRIES:
        if candidate.name == name:
            return candidate
    known = [candidate.name for candidate in ENTRIES]
    raise UserError(
        "no such network", where=f"--network={name}", remedy=nearest(name, known, f"one of {', '.join(known)}")
    )


def build(config: ModelConfig, num_classes: int) -> Network:
    """Returns the network that `config` describes, not yet called.

    Raises:
      UserError: on an unknown name, a setting that was changed and has no effect on this network, or a single class.
    """
    if num_classes < 2:
        raise UserError("there is one class only: nothing to tell apart", remedy="give images of two classes or more")
    row = entry(config.network)
    check_settings(row, config)
    return row.build(config, num_classes)


def check_settings(row: NetworkEntry, config: ModelConfig) -> None:
    """Raises UserError when a setting differs from its default and `row` does not use it.

    A switch that is off asks for nothing, and is what models hold that were made before it came.
    """
    unused = row.unused_settings(config)
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if field.name in unused and value != field.default and value is not False:
            raise UserError(
                f"has no effect on {row.name} with the other settings",
                where=f"--{field.name}={value}",
                remedy="leave it out",
            )


@dataclasses.dataclass(frozen=True)
class TableRow:
    """A network and what it costs: trainable parameters, and 10^9 flops (two per multiply-add) of one forward pass."""

    name: str
    family: str
    depth: int
    image_size: int
    num_classes: int
    num_parameters: int
    gflops: float


def table() -> Iterator[TableRow]:
    """Yields every network's row; each network is traced to be counted, which takes up to a few seconds."""
    return map(_table_row, ENTRIES)


def _table_row(row: NetworkEntry) -> TableRow:
    network = row.build(ModelConfig(network=row.name), row.native_num_classes)
    counted = cost.network_cost(network, row.native_image_size)
    return TableRow(
        name=row.name,
        family=row.family,
        depth=row.depth,
        image_size=row.native_image_size,
        num_classes=row.native_num_classes,
        num_parameters=counted.num_parameters,
        gflops=counted.forward_flops / 1e9,
    )
