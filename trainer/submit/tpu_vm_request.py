"""Builds what Cloud TPU is asked for: a QueuedResource, and the metadata from which its start-up script works.

Reference: https://cloud.google.com/tpu/docs/reference/rest/v2/projects.locations.queuedResources
"""

import dataclasses
import math
import pathlib
import re
import urllib.parse
from collections.abc import Mapping

from google.cloud import tpu_v2

from trainer.errors import UserError
from trainer.submit import storage
from trainer.submit.container import Container
from trainer.submit.hardware import Hardware

_NAME = re.compile(r"[a-z]([a-z0-9-]{0,61}[a-z0-9])?")
# With this program in its metadata the machine starts the trainer that is in the image.
_TRAINER = "trainer"


@dataclasses.dataclass(frozen=True)
class TpuVmOptions:
    """How a Cloud TPU virtual machine is run, apart from what it trains.

    `name` is that of the queued resource and of its node; with `output_dir` it also says where outcome and log go.
    """

    project: str
    zone: str
    name: str
    output_dir: str
    max_hours: float
    is_spot: bool = False
    service_account: str = ""
    network: str = ""
    labels: Mapping[str, str] = dataclasses.field(default_factory=dict)

    def __post_init__(self):
        if not _NAME.fullmatch(self.name):
            remedy = "write lower-case letters, digits and -, at most 63, a letter first"
            raise UserError("not a name for a TPU", where=f"--name={self.name}", remedy=remedy)
        if not 0 < self.max_hours < math.inf:
            raise UserError("out of range", where=f"--max_hours={self.max_hours:g}", remedy="give more than 0")

    @property
    def parent(self) -> str:
        """The resource name under which the zone's queued resources are."""
        return f"projects/{self.project}/locations/{self.zone}"

    @property
    def resource_name(self) -> str:
        """The full name of the queued resource."""
        return f"{self.parent}/queuedResources/{self.name}"

    @property
    def outcome_uri(self) -> str:
        """Where the machine writes how the training ended."""
        return storage.join(self.output_dir, "tpu_vm", self.name, "outcome.json")

    @property
    def log_uri(self) -> str:
        """Where the machine copies what the trainer prints."""
        return storage.join(self.output_dir, "tpu_vm", self.name, "trainer.log")


def queued_resource(container: Container, machine: Hardware, options: TpuVmOptions) -> tpu_v2.QueuedResource:
    """Returns the request for one node that trains and then deletes itself."""
    node = tpu_v2.Node(
        accelerator_type=machine.machine_type,
        runtime_version=machine.runtime_version,
        network_config=tpu_v2.NetworkConfig(network=options.network, enable_external_ips=True),
        service_account=tpu_v2.ServiceAccount(
            email=options.service_account, scope=["https://www.googleapis.com/auth/cloud-platform"]
        ),
        scheduling_config=tpu_v2.SchedulingConfig(spot=options.is_spot),
        labels=dict(options.labels),
        metadata=_metadata(container, options),
    )
    spec = tpu_v2.QueuedResource.Tpu.NodeSpec(parent=options.parent, node_id=options.name, node=node)
    capacity = {"spot": tpu_v2.QueuedResource.Spot()} if options.is_spot else {}
    return tpu_v2.QueuedResource(tpu=tpu_v2.QueuedResource.Tpu(node_spec=[spec]), **capacity)


def startup_script() -> str:
    """Returns the text of the machine's start-up script."""
    return pathlib.Path(__file__).with_name("tpu_vm_startup.sh").read_text(encoding="utf-8")


def _metadata(container: Container, options: TpuVmOptions) -> dict[str, str]:
    return {
        "startup-script": startup_script(),
        "tpu-images-image": container.image,
        "tpu-images-program": container.program or _TRAINER,
        "tpu-images-arguments": "".join(f"{argument}\n" for argument in container.arguments),
        "tpu-images-outcome-path": _upload_path(options.outcome_uri),
        "tpu-images-log-path": _upload_path(options.log_uri),
        "tpu-images-queued-resource": options.resource_name,
        "tpu-images-max-seconds": str(round(options.max_hours * 3600)),
    }


def _upload_path(uri: str) -> str:
    bucket, _, name = uri.removeprefix("gs://").partition("/")
    return f"/upload/storage/v1/b/{bucket}/o?uploadType=media&name={urllib.parse.quote(name, safe='')}"
