"""The machine of a job, chosen from the catalogue; what does not exist or does not fit is refused here."""

import dataclasses
from collections.abc import Iterable

from trainer.errors import UserError, nearest
from trainer.submit import catalogue
from trainer.submit.catalogue import Catalogue, CloudTpu, TpuGeneration, TpuMachine, VertexTpu

TABLES_REMEDY = "if the table is out of date, correct a copy of it and name its directory with --tables"


@dataclasses.dataclass(frozen=True)
class Hardware:
    """What one job runs on.

    `location` is a region of Vertex AI or a zone of Cloud TPU; `tpu_type` is `generation:topology` or empty; `extra` is
    that of our package which drives the device; `runtime_version` is the system of a Cloud TPU machine. Prices are in
    US dollars, None when the table does not know them.
    """

    machine_type: str
    location: str
    extra: str
    accelerator_type: str = ""
    accelerator_count: int = 0
    tpu_type: str = ""
    runtime_version: str = ""
    num_hosts: int = 1
    num_replicas: int = 1
    dollars_per_hour: float | None = None

    @property
    def tpu_topology(self) -> str:
        """The topology part of `tpu_type`."""
        return self.tpu_type.partition(":")[2]

    def describe(self) -> str:
        """Returns one line for people."""
        parts = [self.machine_type]
        if self.tpu_type:
            parts.append(f"TPU {self.tpu_type}")
        elif self.accelerator_count:
            parts.append(f"{self.accelerator_count} x {self.accelerator_type}")
        hosts = "" if self.num_hosts == 1 else f" on {self.num_hosts} hosts"
        return f"{' with '.join(parts)} in {self.location}{hosts}: {self.num_replicas} replicas"


def vertex_tpu(
    tables: Catalogue, tpu_type: str, *, region: str, machine_type: str = "", is_spot: bool = False
) -> Hardware:
    """Returns the Vertex AI machine for `tpu_type` (`v5e:2x4`), by default the one that needs the fewest hosts.

    Raises:
      UserError: when Vertex AI lacks the generation, topology, machine type or region, or they do not go together.
    """
    generation_name, topology, generation = _parse_tpu_type(tables, tpu_type)
    service = generation.vertex
    if service is None:
        raise UserError(
            f"Vertex AI has no TPU {generation_name}", where=f"--tpu_type={tpu_type}", remedy=_vertex_remedy(tables)
        )
    _check_location(region, service.regions, f"TPU {generation_name} on Vertex AI", "--region")
    machine_type = _machine_for(service, topology, machine_type, tpu_type)
    chips = catalogue.num_chips(topology)
    return Hardware(
        machine_type=machine_type,
        location=region,
        extra="tpu",
        accelerator_type=service.accelerator_type,
        accelerator_count=service.accelerator_count_per_chip * chips,
        tpu_type=tpu_type,
        num_hosts=max(1, chips // service.machines[machine_type].chips_per_host),
        num_replicas=chips * generation.devices_per_chip,
        dollars_per_hour=_managed(tables, _tpu_price(tables, generation_name, chips, is_spot)),
    )


def vertex_machine(tables: Catalogue, machine_type: str, *, region: str, gpu: str = "") -> Hardware:
    """Returns a Vertex AI machine without TPU; `gpu` is `TYPE:COUNT`, or empty where there is no choice.

    Raises:
      UserError: on an unknown machine type or region, or a GPU that the machine or the region does not have.
    """
    if machine_type not in tables.machines:
        where = f"--machine_type={machine_type}"
        remedy = nearest(machine_type, tables.machines, TABLES_REMEDY)
        raise UserError("Vertex AI has no such machine type in our table", where=where, remedy=remedy)
    _check_location(region, tables.regions, "Vertex AI", "--region")
    gpu_type, gpu_count = _gpu_for(tables, machine_type, gpu)
    if gpu_type:
        _check_location(region, tables.gpu_regions.get(gpu_type, ()), gpu_type, "--region")
    return Hardware(
        machine_type=machine_type,
        location=region,
        extra="gpu" if gpu_type else "cpu",
        accelerator_type=gpu_type,
        accelerator_count=gpu_count,
        num_replicas=max(1, gpu_count),
        dollars_per_hour=_managed(tables, _machine_price(tables, machine_type, gpu_type, gpu_count)),
    )


def tpu_vm(tables: Catalogue, tpu_type: str, *, zone: str, is_spot: bool = False) -> Hardware:
    """Returns the Cloud TPU virtual machine for `tpu_type`; `machine_type` is Cloud TPU's name for it (`v5litepod-8`).

    Raises:
      UserError: when Cloud TPU lacks the generation, the topology or the zone.
    """
    generation_name, topology, generation = _parse_tpu_type(tables, tpu_type)
    service = generation.tpu_vm
    if service is None:
        remedy = "use tpu-images submit vertex, or Kubernetes Engine"
        raise UserError(f"Cloud TPU creates no TPU {generation_name}", where=f"--tpu_type={tpu_type}", remedy=remedy)
    _check_topology(topology, service.topologies, tpu_type)
    _check_location(zone, service.zones, f"TPU {generation_name}", "--zone")
    chips = catalogue.num_chips(topology)
    return Hardware(
        machine_type=f"{service.accelerator_prefix}-{chips * service.accelerator_count_per_chip}",
        location=zone,
        extra="tpu",
        tpu_type=tpu_type,
        runtime_version=service.runtime_version,
        num_hosts=_num_tpu_vm_hosts(service, chips),
        num_replicas=chips * generation.devices_per_chip,
        dollars_per_hour=_tpu_price(tables, generation_name, chips, is_spot),
    )


def check_batch_sizes(hardware: Hardware, batch_sizes: Iterable[tuple[str, int]]) -> None:
    """Refuses a batch that the replicas cannot share evenly; `batch_sizes` holds (setting, examples)."""
    for name, batch_size in batch_sizes:
        if batch_size % hardware.num_replicas:
            lower = batch_size // hardware.num_replicas * hardware.num_replicas
            choices = " or ".join(str(size) for size in (lower, lower + hardware.num_replicas) if size)
            raise UserError(
                f"{batch_size} examples do not divide among {hardware.num_replicas} replicas",
                where=f"--{name}",
                remedy=f"use {choices}",
            )


def _parse_tpu_type(tables: Catalogue, tpu_type: str) -> tuple[str, str, TpuGeneration]:
    generation_name, _, topology = tpu_type.partition(":")
    where = f"--tpu_type={tpu_type}"
    if generation_name not in tables.tpus:
        remedy = f"write generation:topology, as in v5e:2x4; the generations are {', '.join(tables.tpus)}"
        raise UserError("no such TPU", where=where, remedy=nearest(generation_name, tables.tpus, remedy))
    try:
        catalogue.num_chips(topology)
    except ValueError as error:
        raise UserError("has no topology", where=where, remedy="write one, as in v5e:2x4 or v4:2x2x1") from error
    return generation_name, topology, tables.tpus[generation_name]


def _machine_for(service: VertexTpu, topology: str, machine_type: str, tpu_type: str) -> str:
    fitting = {name: machine for name, machine in service.machines.items() if topology in machine.topologies}
    if not fitting:
        _check_topology(topology, _all_topologies(service.machines.values()), tpu_type)
    if not machine_type:
        return max(fitting, key=lambda name: fitting[name].chips_per_host)
    if machine_type not in fitting:
        raise UserError(
            f"does not form a slice of topology {topology}",
            where=f"--machine_type={machine_type}",
            remedy=f"leave it out, or use {' or '.join(fitting)}",
        )
    return machine_type


def _all_topologies(machines: Iterable[TpuMachine]) -> list[str]:
    return sorted({topology for machine in machines for topology in machine.topologies}, key=catalogue.num_chips)


def _check_topology(topology: str, offered: Iterable[str], tpu_type: str) -> None:
    if topology not in offered:
        remedy = f"use one of {', '.join(offered)}; {TABLES_REMEDY}"
        raise UserError(f"there are no slices of topology {topology}", where=f"--tpu_type={tpu_type}", remedy=remedy)


def _check_location(location: str, offered: Iterable[str], what: str, flag: str) -> None:
    if location not in offered:
        remedy = f"{what} is in {', '.join(offered)}; {TABLES_REMEDY}"
        raise UserError(f"has no {what}", where=f"{flag}={location}", remedy=remedy)


def _vertex_remedy(tables: Catalogue) -> str:
    names = [name for name, generation in tables.tpus.items() if generation.vertex is not None]
    return f"use {', '.join(names)}, or tpu-images submit tpu-vm"


def _num_tpu_vm_hosts(service: CloudTpu, chips: int) -> int:
    return 1 if chips <= service.single_host_chips else chips // 4


def _gpu_for(tables: Catalogue, machine_type: str, gpu: str) -> tuple[str, int]:
    offered = tables.machines[machine_type]
    choices = [(name, count) for name, counts in offered.items() for count in counts]
    if not gpu:
        return choices[0] if len(choices) == 1 else ("", 0)
    name, _, count = gpu.partition(":")
    wanted = (name, int(count or 1)) if (count or "1").isdigit() else (name, 0)
    if wanted not in choices:
        text = ", ".join(f"{name}:{count}" for name, count in choices)
        remedy = f"use one of {text}" if choices else "this machine takes no GPU: leave --gpu out"
        raise UserError(f"{machine_type} does not take it", where=f"--gpu={gpu}", remedy=remedy)
    return wanted


def _managed(tables: Catalogue, dollars_per_hour: float | None) -> float | None:
    return None if dollars_per_hour is None else dollars_per_hour * (1 + tables.prices.vertex_management_share)


def _tpu_price(tables: Catalogue, generation_name: str, chips: int, is_spot: bool) -> float | None:
    prices = tables.prices.tpu_chip_hour_spot if is_spot else tables.prices.tpu_chip_hour
    price = prices.get(generation_name)
    return None if price is None else price * chips


def _machine_price(tables: Catalogue, machine_type: str, gpu_type: str, gpu_count: int) -> float | None:
    machine = tables.prices.machine_hour.get(machine_type)
    has_own_gpu = len(tables.machines[machine_type]) == 1
    gpu = 0.0 if has_own_gpu or not gpu_type else tables.prices.gpu_hour.get(gpu_type)
    return None if machine is None or gpu is None else machine + gpu * gpu_count
