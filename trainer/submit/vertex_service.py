"""Sends requests to Vertex AI and watches what becomes of them."""

import dataclasses
import time
import uuid
from collections.abc import Callable

from google.cloud import aiplatform_v1
from google.cloud.aiplatform_v1.services.job_service import transports

from trainer.submit import service
from trainer.submit.calls import CALL_TIMEOUT_SECS, call

EMULATOR_VARIABLE = "AIPLATFORM_EMULATOR_HOST"
# Every job carries this label with a random value: it tells whether a job whose answer was lost exists.
SUBMISSION_LABEL = "tpu-images-submission"
_ENDED = frozenset(
    {
        aiplatform_v1.JobState.JOB_STATE_SUCCEEDED,
        aiplatform_v1.JobState.JOB_STATE_FAILED,
        aiplatform_v1.JobState.JOB_STATE_CANCELLED,
        aiplatform_v1.JobState.JOB_STATE_EXPIRED,
        aiplatform_v1.JobState.JOB_STATE_PARTIALLY_SUCCEEDED,
    }
)

Job = aiplatform_v1.CustomJob | aiplatform_v1.HyperparameterTuningJob


@dataclasses.dataclass(frozen=True)
class _Kind:
    """How the service names one kind of job; `noun` is part of the names of its methods."""

    noun: str
    collection: str
    console_page: str


_KINDS = {
    aiplatform_v1.CustomJob: _Kind("custom_job", "customJobs", "training"),
    aiplatform_v1.HyperparameterTuningJob: _Kind(
        "hyperparameter_tuning_job", "hyperparameterTuningJobs", "training/hyperparameter-tuning"
    ),
}


def endpoint(region: str) -> str:
    """Returns the host name of Vertex AI in a region."""
    return f"{region}-aiplatform.googleapis.com"


def parent(project: str, region: str) -> str:
    """Returns the resource name under which a project's jobs in a region are."""
    return f"projects/{project}/locations/{region}"


def collection(job: Job) -> str:
    """Returns what a resource name calls jobs of this kind, such as `customJobs`."""
    return _KINDS[type(job)].collection


def console_url(job: Job) -> str:
    """Returns where the Google Cloud console shows a job that was created."""
    _, project, _, region, _, identifier = job.name.split("/")
    page = _KINDS[type(job)].console_page
    return f"https://console.cloud.google.com/vertex-ai/locations/{region}/{page}/{identifier}?project={project}"


def new_submission_label() -> dict[str, str]:
    """Returns the label that makes a job recognisable as the one that this submission asked for."""
    return {SUBMISSION_LABEL: uuid.uuid4().hex[:12]}


def job_client(region: str) -> aiplatform_v1.JobServiceClient:
    """Returns a client of the job service."""
    return service.connect(
        aiplatform_v1.JobServiceClient,
        transports.JobServiceGrpcTransport,
        endpoint=endpoint(region),
        emulator_variable=EMULATOR_VARIABLE,
    )


def create_job(client: aiplatform_v1.JobServiceClient, parent: str, job: Job) -> Job:
    """Creates the job, once: after a lost answer it is looked up by its submission label before it is sent again."""
    noun = _KINDS[type(job)].noun
    create, list_jobs = getattr(client, f"create_{noun}"), getattr(client, f"list_{noun}s")
    listing = {"parent": parent, "filter": f'labels.{SUBMISSION_LABEL}="{job.labels[SUBMISSION_LABEL]}"'}
    return call(
        f"create a {noun.replace('_', ' ')}",
        lambda: create(parent=parent, timeout=CALL_TIMEOUT_SECS, retry=None, **{noun: job}),
        already_done=lambda: next(iter(list_jobs(listing, timeout=CALL_TIMEOUT_SECS, retry=None)), None),
    )


def get_job(client: aiplatform_v1.JobServiceClient, job: Job) -> Job:
    """Returns a created job as it is now, in one try."""
    get = getattr(client, f"get_{_KINDS[type(job)].noun}")
    return get(name=job.name, timeout=CALL_TIMEOUT_SECS, retry=None)


def wait(get_job: Callable[[], Job], report: Callable[[Job], None], *, poll_interval_secs: float) -> Job:
    """Looks at the job until it has ended, hands each look to `report`, and returns the last one."""
    while True:
        job = call("look at the job", get_job)
        report(job)
        if job.state in _ENDED:
            return job
        time.sleep(poll_interval_secs)
