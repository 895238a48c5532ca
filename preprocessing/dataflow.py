"""Conversions on Dataflow: checks and defaults before, the job's address while, and its end.

Reference: https://cloud.google.com/dataflow/docs/reference/pipeline-options#python
"""

import getpass
import json
import pathlib
import re
import time
import tomllib
from collections.abc import Callable, Sequence
from typing import Any

import apache_beam as beam
from apache_beam.options.pipeline_options import (
    GoogleCloudOptions,
    PipelineOptions,
    SetupOptions,
    TestOptions,
    WorkerOptions,
)
from apache_beam.options.pipeline_options_validator import PipelineOptionsValidator
from apache_beam.runners.dataflow.dataflow_runner import DataflowRunner
from apache_beam.runners.runner import PipelineState
from google.api_core.exceptions import GoogleAPICallError, TooManyRequests

from preprocessing import distribution, storage
from preprocessing.errors import UserError

RUNNER = "DataflowRunner"
DEFAULTS_FILE = pathlib.Path(__file__).with_name("dataflow.toml")
_JOB_NAME_PART = re.compile(r"[^a-z0-9]+")
_TEMP_LOCATION = re.compile(r"gs://[a-z0-9][-_a-z0-9.]+[a-z0-9]/.+")
_NUM_TRIES = 4
FIRST_DELAY_SECS = 2.0
_LABEL = "application=tpu-images"
# The version of the interface between Dataflow and Beam's workers that apache_beam.runners.dataflow asks for.
_ENVIRONMENT_VERSION = "8"


def complete_flags(flags: Sequence[str], *, input_path: str, output_path: str, work_dir: pathlib.Path) -> list[str]:
    """Returns Beam's flags with what a conversion on Dataflow needs beside the user's.

    Workers get this package: built from the checkout (`--setup_file`), repacked from the installation
    (`--extra_package`, written to `work_dir`), or inside the user's `--sdk_container_image`.

    Raises:
      UserError: when a place is not in Cloud Storage, or `--project`, `--region` or `--temp_location` is missing.
    """
    given = PipelineOptions(list(flags))
    _check_places(input_path, output_path, given.view_as(GoogleCloudOptions))
    completed = [*flags, *_default_flags(given)]
    if given.view_as(WorkerOptions).sdk_container_image:
        return [*completed, *_container_flags(given)]
    if given.view_as(SetupOptions).setup_file or given.view_as(SetupOptions).extra_packages:
        return completed
    root = distribution.checkout_root()
    package = f"--setup_file={root / 'setup.py'}" if root else f"--extra_package={distribution.build(work_dir)}"
    return [*completed, package]


def dry_run_text(options: PipelineOptions) -> str:
    """Returns the job that would be created, as JSON of the service's proto class, and what a worker costs.

    Needs neither credentials nor network. The conversion's own steps are not part of it: they are uploaded as a file,
    to the address in `pipelineUrl`.
    """
    cloud = options.view_as(GoogleCloudOptions)
    method = f"POST https://dataflow.googleapis.com/v1b3/projects/{cloud.project}/locations/{cloud.region}/jobs"
    request = _job_request(options)
    body = json.dumps(type(request).to_dict(request, including_default_value_fields=False), indent=2)
    return "\n".join([f"# {method}", body, *(f"# {line}" for line in cost_lines(options))])


def cost_lines(options: PipelineOptions) -> list[str]:
    """Returns what the job costs at most per hour, as an estimate in US dollars."""
    table = _table()
    workers = options.view_as(WorkerOptions)
    prices, machine = table["prices"], table["machines"].get(workers.machine_type)
    if machine is None:
        return [f"cost: unknown, {DEFAULTS_FILE.name} does not know {workers.machine_type}"]
    per_hour = (
        machine["vcpus"] * prices["vcpu_hour"]
        + machine["memory_gib"] * prices["memory_gib_hour"]
        + (workers.disk_size_gb or 0) * prices["disk_gib_hour"]
    )
    return [
        f"cost: about ${per_hour:.3f} per hour and worker ({workers.machine_type}),"
        f" ${per_hour * workers.max_num_workers:.2f} per hour for the {workers.max_num_workers} it may grow to",
        f"      (an estimate from list prices of {prices['as_of']} in {DEFAULTS_FILE.name}; storage is extra)",
    ]


def job_url(options: PipelineOptions, job_id: str) -> str:
    """Returns where the Google Cloud console shows the job."""
    cloud = options.view_as(GoogleCloudOptions)
    return f"https://console.cloud.google.com/dataflow/jobs/{cloud.region}/{job_id}?project={cloud.project}"


def run_to_end(pipeline: beam.Pipeline, *, poll_interval_secs: float = 20.0) -> None:
    """Runs the pipeline, prints the job's address and states, and waits for its end; Ctrl-C cancels the job.

    Raises:
      UserError: when the job cannot be created, fails or is cancelled.
    """
    try:
        result: Any = _patiently(pipeline.run)
    except GoogleAPICallError as error:
        remedy = "check --project, --region and your roles (docs/cloud.md)"
        raise UserError(f"the job cannot be created ({error.message})", where="Dataflow", remedy=remedy) from error
    url = job_url(pipeline.options, result.job_id())
    print(f"job: {url}", flush=True)
    try:
        state = _wait(result, poll_interval_secs)
    except KeyboardInterrupt:
        # Nobody would publish what it writes.
        result.cancel()
        raise
    if state != PipelineState.DONE:
        raise UserError(f"the job ended in the state {state.lower()}", where=url, remedy="its page shows why")


def _wait(result: Any, poll_interval_secs: float) -> str:
    last_state = ""
    while True:
        state = _patiently(lambda: result.state)
        if state != last_state:
            print(f"{time.strftime('%H:%M:%S')} {state.lower()}", flush=True)
            last_state = state
        if PipelineState.is_terminal(state):
            return state
        time.sleep(poll_interval_secs)


def _patiently(call: Callable[[], Any]) -> Any:
    """Returns `call()`, tried up to four times on too many requests: after other faults Beam itself tries again."""
    for attempt in range(_NUM_TRIES - 1):
        try:
            return call()
        except TooManyRequests:
            time.sleep(FIRST_DELAY_SECS * 2**attempt)
    return call()


def _check_places(input_path: str, output_path: str, cloud: GoogleCloudOptions) -> None:
    for place, name in ((input_path, "INPUT"), (output_path, "OUTPUT")):
        if not storage.is_remote(place):
            remedy = "write gs://..., and copy local files there with: gcloud storage cp -r"
            raise UserError(f"the workers of Dataflow cannot reach {name}", where=place, remedy=remedy)
    for name in ("project", "region", "temp_location"):
        if not getattr(cloud, name):
            raise UserError("Dataflow needs it", where=f"--{name}", remedy=f"add --{name}=...")
    # Beam would take a bucket that it creates itself in place of a place that it cannot use.
    if not _TEMP_LOCATION.fullmatch(cloud.temp_location):
        where = f"--temp_location={cloud.temp_location}"
        raise UserError("is no folder in Cloud Storage", where=where, remedy="write gs://BUCKET/temp")
    for error in PipelineOptionsValidator(cloud, DataflowRunner()).validate_cloud_options(cloud):
        raise UserError(error, where=f"--project={cloud.project}")


def _default_flags(given: PipelineOptions) -> list[str]:
    defaults = _table()["defaults"]
    workers, cloud = given.view_as(WorkerOptions), given.view_as(GoogleCloudOptions)
    flags = [f"--labels={_LABEL}", "--no_save_main_session"]
    if not cloud.job_name:
        user = _JOB_NAME_PART.sub("-", getpass.getuser().lower()).strip("-")
        flags.append(f"--job_name=tpu-images-convert-{user}-{time.strftime('%Y%m%d-%H%M%S')}")
    for name in ("machine_type", "max_num_workers", "disk_size_gb"):
        if not getattr(workers, name):
            flags.append(f"--{name}={defaults[name]}")
    return flags


def _container_flags(given: PipelineOptions) -> list[str]:
    image = given.view_as(WorkerOptions).sdk_container_image
    tag = image.rpartition("/")[2].partition(":")[2]
    if tag in ("", "latest") and "@" not in image:
        remedy = "name a tag: workers that start later could otherwise run another version"
        raise UserError("is an image without a version", where=f"--sdk_container_image={image}", remedy=remedy)
    return ["--sdk_location=container"]


def _job_request(options: PipelineOptions) -> Any:
    from apache_beam.runners.dataflow.internal import apiclient  # noqa: PLC0415 - needs apache-beam[gcp]
    from apache_beam.runners.internal import names  # noqa: PLC0415

    options.view_as(TestOptions).dry_run = True
    pipeline = beam.Pipeline(runner=RUNNER, options=options)
    _ = pipeline | beam.Create([0])
    job = pipeline.run().job  # type: ignore[attr-defined]
    options.view_as(TestOptions).dry_run = False  # or the request would say that it is one
    job.proto.environment = apiclient.Environment(
        packages=[],
        options=options,
        environment_version=_ENVIRONMENT_VERSION,
        proto_pipeline_staged_url=f"{job.google_cloud_options.staging_location}/{names.STAGED_PIPELINE_FILENAME}",
        proto_pipeline=job.proto_pipeline,
    ).proto
    return job.proto


def _table() -> dict[str, Any]:
    return tomllib.loads(DEFAULTS_FILE.read_text(encoding="utf-8"))
