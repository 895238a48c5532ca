"""Builds what Vertex AI is asked for: a CustomJob, as the real client's proto class.

Reference: https://cloud.google.com/vertex-ai/docs/reference/rest/v1/CustomJobSpec
"""

import dataclasses
from collections.abc import Mapping

from google.cloud import aiplatform_v1
from google.protobuf import duration_pb2

from trainer.errors import UserError
from trainer.submit.container import Container
from trainer.submit.hardware import Hardware

_MAX_HOURS_OF_VERTEX = 168.0


@dataclasses.dataclass(frozen=True)
class JobOptions:
    """How a job is run, apart from what it trains.

    `max_hours` bounds running time and therefore cost. `network` and `tensorboard` are full resource names.
    """

    display_name: str
    output_dir: str
    max_hours: float = 24.0
    is_spot: bool = False
    service_account: str = ""
    network: str = ""
    tensorboard: str = ""
    labels: Mapping[str, str] = dataclasses.field(default_factory=dict)

    def __post_init__(self):
        if not 0 < self.max_hours <= _MAX_HOURS_OF_VERTEX:
            remedy = f"give more than 0 and at most {_MAX_HOURS_OF_VERTEX:g} (7 days)"
            raise UserError("out of range", where=f"--max_hours={self.max_hours:g}", remedy=remedy)
        if self.tensorboard and not self.service_account:
            remedy = "add --service_account (with the role roles/aiplatform.user and access to the bucket)"
            raise UserError("Vertex AI writes to it only as a service account", where="--tensorboard", remedy=remedy)


def custom_job(container: Container, machine: Hardware, options: JobOptions) -> aiplatform_v1.CustomJob:
    """Returns the CustomJob that runs `container` on `machine`."""
    return aiplatform_v1.CustomJob(
        display_name=options.display_name,
        labels=dict(options.labels),
        job_spec=job_spec(container, machine, options),
    )


def job_spec(container: Container, machine: Hardware, options: JobOptions) -> aiplatform_v1.CustomJobSpec:
    """Returns the part that custom jobs and the trials of a tuning job share."""
    return aiplatform_v1.CustomJobSpec(
        worker_pool_specs=[_worker_pool(container, machine)],
        scheduling=_scheduling(options),
        service_account=options.service_account,
        network=options.network,
        tensorboard=options.tensorboard,
        base_output_directory=aiplatform_v1.GcsDestination(output_uri_prefix=options.output_dir),
    )


def _worker_pool(container: Container, machine: Hardware) -> aiplatform_v1.WorkerPoolSpec:
    # A TPU slice is one worker pool of one replica, however many hosts it has.
    return aiplatform_v1.WorkerPoolSpec(
        machine_spec=aiplatform_v1.MachineSpec(
            machine_type=machine.machine_type,
            accelerator_type=machine.accelerator_type or aiplatform_v1.AcceleratorType.ACCELERATOR_TYPE_UNSPECIFIED,
            accelerator_count=machine.accelerator_count,
            tpu_topology="" if machine.accelerator_type else machine.tpu_topology,
        ),
        replica_count=1,
        container_spec=aiplatform_v1.ContainerSpec(
            image_uri=container.image, command=container.command, args=container.arguments
        ),
    )


def _scheduling(options: JobOptions) -> aiplatform_v1.Scheduling:
    strategy = aiplatform_v1.Scheduling.Strategy
    return aiplatform_v1.Scheduling(
        timeout=duration_pb2.Duration(seconds=round(options.max_hours * 3600)),
        strategy=strategy.SPOT if options.is_spot else strategy.STANDARD,
        # The trainer continues from its checkpoint, so a lost machine costs minutes; without this it would end the job.
        restart_job_on_worker_restart=True,
    )
