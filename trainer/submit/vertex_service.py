"""Sends requests to Vertex AI and watches what becomes of them."""

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


def endpoint(region: str) -> str:
    """Returns the host name of Vertex AI in a region."""
    return f"{region}-aiplatform.googleapis.com"


def parent(project: str, region: str) -> str:
    """Returns the resource name under which a project's jobs in a region are."""
    return f"projects/{project}/locations/{region}"


def rest_method(project: str, region: str, collection: str) -> str:
    """Returns the REST form of creating something, for people."""
    return f"POST https://{endpoint(region)}/v1/{parent(project, region)}/{collection}"


def console_url(name: str, page: str) -> str:
    """Returns where the Google Cloud console shows the resource `projects/P/locations/R/.../ID`."""
    _, project, _, region, _, identifier = name.split("/")
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


def create_custom_job(client: aiplatform_v1.JobServiceClient, parent: str, job: aiplatform_v1.CustomJob) -> Job:
    """Creates the job, once: after a lost answer it is looked up by its submission label before it is sent again."""
    wanted = f'labels.{SUBMISSION_LABEL}="{job.labels[SUBMISSION_LABEL]}"'
    listing = aiplatform_v1.ListCustomJobsRequest(parent=parent, filter=wanted)
    return call(
        "create a custom job",
        lambda: client.create_custom_job(parent=parent, custom_job=job, timeout=CALL_TIMEOUT_SECS, retry=None),
        already_done=lambda: next(iter(client.list_custom_jobs(listing, timeout=CALL_TIMEOUT_SECS, retry=None)), None),
    )


def get_custom_job(client: aiplatform_v1.JobServiceClient, name: str) -> aiplatform_v1.CustomJob:
    """Returns the job as it is now, in one try."""
    return client.get_custom_job(name=name, timeout=CALL_TIMEOUT_SECS, retry=None)


def wait(get_job: Callable[[], Job], report: Callable[[Job], None], *, poll_interval_secs: float) -> Job:
    """Looks at the job until it has ended, hands each look to `report`, and returns the last one."""
    while True:
        job = call("look at the job", get_job)
        report(job)
        if job.state in _ENDED:
            return job
        time.sleep(poll_interval_secs)
