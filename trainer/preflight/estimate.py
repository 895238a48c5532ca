"""How fast a compiled step will be: its roofline, times the share of it that published runs reached.

The roofline (Williams, Waterman and Patterson 2009, doi 10.1145/1498765.1498785) takes the longer of the time for the
arithmetic and the time for the HBM traffic; nothing runs faster. Real steps are slower: copies and arithmetic overlap
only in part, replicas wait for one another. The share comes from MLPerf's logs of ResNet-50 on TPU v2, v3 and v4; for
other networks and newer chips it is an extrapolation. Input that cannot keep up is not part of it.
"""

import dataclasses
import functools
import importlib.resources
import tomllib

from trainer.engine import topology as tpu_topology
from trainer.preflight.compiler import CompiledStep


@dataclasses.dataclass(frozen=True)
class Roofline:
    """The least time of something that one device does, seconds."""

    arithmetic_secs: float
    hbm_secs: float

    @property
    def secs(self) -> float:
        """The longer of the two."""
        return max(self.arithmetic_secs, self.hbm_secs)

    @property
    def bound(self) -> str:
        """Which of the two it is."""
        return "HBM bandwidth" if self.hbm_secs >= self.arithmetic_secs else "arithmetic"


def roofline(flops: float, hbm_bytes: float, tpu_type: tpu_topology.TpuType) -> Roofline:
    """Returns the roofline of so much arithmetic and HBM traffic on one device."""
    return Roofline(flops / tpu_type.device_flops_per_sec, hbm_bytes / tpu_type.device_hbm_bytes_per_sec)


@dataclasses.dataclass(frozen=True)
class PublishedRun:
    """A training of ResNet-50 that others measured; `images_per_sec` of one chip, the rest of one image."""

    name: str
    tpu_type: str
    images_per_sec: float
    flops: float
    hbm_bytes: float
    source: str

    @property
    def share(self) -> float:
        """The share of its roofline that it reached."""
        tpu_type = tpu_topology.TPU_TYPES[self.tpu_type]
        return self.images_per_sec / tpu_type.devices_per_chip * roofline(self.flops, self.hbm_bytes, tpu_type).secs


@functools.cache
def published_runs() -> tuple[PublishedRun, ...]:
    """Returns the runs of `published_runs.toml`."""
    text = (importlib.resources.files(__package__) / "published_runs.toml").read_text()
    return tuple(PublishedRun(**run) for run in tomllib.loads(text)["run"])


@dataclasses.dataclass(frozen=True)
class Rate:
    """An estimated range, images per second."""

    low: float
    high: float

    @property
    def middle(self) -> float:
        """Half way between."""
        return (self.low + self.high) / 2


def images_per_sec(step_roofline: Roofline, per_replica_batch_size: int, num_devices: int) -> Rate:
    """Returns the range in which all devices together are expected."""
    at_roof = per_replica_batch_size * num_devices / step_roofline.secs
    shares = [run.share for run in published_runs()]
    return Rate(at_roof * min(shares), at_roof * max(shares))


def step_roofline(compiled: CompiledStep, topology: tpu_topology.Topology) -> Roofline:
    """Returns the roofline of one step."""
    return roofline(compiled.figures.flops, compiled.hbm_traffic_bytes, topology.tpu_type)
