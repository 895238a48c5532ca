import http.server
import json
import pathlib
import re

import apache_beam as beam
import pytest
from apache_beam.options.pipeline_options import GoogleCloudOptions, PipelineOptions, SetupOptions, WorkerOptions
from google.cloud import dataflow as dataflow_client

from preprocessing import dataflow, distribution
from preprocessing.errors import UserError
from tests.trainer.submit import cloud_servers
from tests.trainer.submit.cloud_servers import Faults, ScriptedFaults

FLAGS = ["--project=my-project", "--region=us-central1", "--temp_location=gs://bucket/temp"]


def complete(*flags: str, source="gs://bucket/photos", target="gs://bucket/dataset", work_dir="/nowhere"):
    return dataflow.complete_flags(
        flags or FLAGS, input_path=source, output_path=target, work_dir=pathlib.Path(work_dir)
    )


def options(*flags: str) -> PipelineOptions:
    return PipelineOptions([f"--runner={dataflow.RUNNER}", *flags])


def test_defaults_are_added():
    made = options(*complete())
    workers = made.view_as(WorkerOptions)
    assert (workers.machine_type, workers.max_num_workers, workers.disk_size_gb) == ("e2-standard-4", 20, 50)
    assert made.view_as(GoogleCloudOptions).labels == ["application=tpu-images"]
    assert made.view_as(GoogleCloudOptions).job_name.startswith("tpu-images-convert-")
    assert made.view_as(SetupOptions).setup_file == str(distribution.checkout_root() / "setup.py")


def test_what_the_user_says_comes_first():
    own = [
        "--machine_type=n2-standard-8",
        "--max_num_workers=3",
        "--disk_size_gb=99",
        "--job_name=mine",
        "--labels=a=b",
    ]
    made = options(*complete(*FLAGS, *own, "--setup_file=/mine/setup.py"))
    workers = made.view_as(WorkerOptions)
    assert (workers.machine_type, workers.max_num_workers, workers.disk_size_gb) == ("n2-standard-8", 3, 99)
    assert made.view_as(GoogleCloudOptions).job_name == "mine"
    assert made.view_as(GoogleCloudOptions).labels == ["a=b", "application=tpu-images"]
    assert made.view_as(SetupOptions).setup_file == "/mine/setup.py"


def test_an_image_brings_the_package_itself():
    made = options(*complete(*FLAGS, "--sdk_container_image=us-docker.pkg.dev/p/r/beam:1"))
    assert made.view_as(SetupOptions).sdk_location == "container"
    assert made.view_as(SetupOptions).setup_file is None


@pytest.mark.parametrize(
    ("flags", "places", "message"),
    [
        (FLAGS[1:], {}, "--project: Dataflow needs it; add --project=..."),
        ([FLAGS[0], FLAGS[2]], {}, "--region: Dataflow needs it"),
        (FLAGS[:2], {}, "--temp_location: Dataflow needs it"),
        ([*FLAGS[:2], "--temp_location=/tmp"], {}, "--temp_location=/tmp: is no folder in Cloud Storage"),
        ([*FLAGS[:2], "--temp_location=gs://bucket"], {}, "is no folder in Cloud Storage; write gs://BUCKET/temp"),
        (["--project=My Project", *FLAGS[1:]], {}, "--project=My Project: Invalid Project ID (My Project)"),
        (FLAGS, {"source": "photos"}, "photos: the workers of Dataflow cannot reach INPUT; write gs://..."),
        (FLAGS, {"target": "dataset"}, "dataset: the workers of Dataflow cannot reach OUTPUT"),
        ([*FLAGS, "--sdk_container_image=r/beam:latest"], {}, "is an image without a version; name a tag"),
        ([*FLAGS, "--sdk_container_image=r/beam"], {}, "is an image without a version"),
    ],
)
def test_what_cannot_work_is_refused_at_home(flags, places, message):
    with pytest.raises(UserError) as refusal:
        complete(*flags, **places)
    assert message in str(refusal.value)


def test_a_dry_run_is_a_job_that_the_real_client_accepts(monkeypatch):
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", "/no/such/file")  # whoever asks for credentials fails
    text = dataflow.dry_run_text(options(*complete(), "--num_workers=4"))
    first, body = text.split("\n", 1)
    assert first == "# POST https://dataflow.googleapis.com/v1b3/projects/my-project/locations/us-central1/jobs"
    fields = json.loads(body[: body.rindex("}") + 1])
    job = dataflow_client.Job.from_json(json.dumps(fields))
    assert job.name.startswith("tpu-images-convert-")
    assert dict(job.labels) == {"application": "tpu-images"}
    (pool,) = job.environment.worker_pools
    assert (pool.machine_type, pool.num_workers, pool.disk_size_gb) == ("e2-standard-4", 4, 50)
    assert pool.autoscaling_settings.max_num_workers == 20
    assert "/beam_python3." in pool.worker_harness_container_image
    assert "# cost: about $0.284 per hour and worker (e2-standard-4), $5.67 per hour for the 20 it may grow to" in text


def test_an_unknown_machine_has_no_price():
    (line,) = dataflow.cost_lines(options("--machine_type=x9-mega-1", "--max_num_workers=2"))
    assert line == "cost: unknown, dataflow.toml does not know x9-mega-1"


class DataflowServer:
    """A local Dataflow: takes jobs by the REST interface, and ends each in `state` at the second look."""

    def __init__(self, state: str, faults: Faults | None = None):
        self.jobs: list[dict] = []
        self.cancelled: list[int] = []
        self._state = state
        self._faults = faults or Faults()
        self._num_looks = 0

    def serve(self):
        return cloud_servers.http_server(self._handler_class())

    def _job(self, number: int) -> dict:
        self._num_looks += 1
        state = self._state if self._num_looks > 1 else "JOB_STATE_RUNNING"
        return self.jobs[number - 1] | {"id": f"job-{number}", "currentState": state}

    def _handler_class(server):  # noqa: N805
        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                if self._fails():
                    return
                server.jobs.append(body)
                self._answer(200, body | {"id": f"job-{len(server.jobs)}"})

            def do_PUT(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                server.cancelled.append(body["requestedState"])
                self._answer(200, body)

            def do_GET(self) -> None:
                if self._fails():
                    return
                path = self.path.partition("?")[0]
                is_job = path.rpartition("/")[2].startswith("job-")
                self._answer(200, server._job(len(server.jobs)) if is_job else {})

            def _fails(self) -> bool:
                fault = server._faults.next()
                if fault:
                    self._answer(503 if fault == "reset" else int(fault), {"error": {"message": fault}})
                return bool(fault)

            def _answer(self, status: int, content: dict) -> None:
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.end_headers()
                self.wfile.write(json.dumps(content).encode())

            def log_message(self, *arguments: object) -> None:
                del arguments

        return Handler


@pytest.fixture
def run(monkeypatch):
    """Submits a small pipeline to a local Dataflow, with the package staged in a local Cloud Storage."""

    monkeypatch.setattr(dataflow, "FIRST_DELAY_SECS", 0.01)

    def submitted(server: DataflowServer) -> None:
        with server.serve() as address, cloud_servers.storage_server(Faults()) as storage_address:
            monkeypatch.setenv("STORAGE_EMULATOR_HOST", storage_address)
            local = ["--no_auth", f"--dataflow_endpoint={address.replace('127.0.0.1', 'localhost')}"]
            made = options(*complete(), *local)
            pipeline = beam.Pipeline(runner=dataflow.RUNNER, options=made)
            _ = pipeline | beam.Create([1, 2]) | beam.Map(print)
            dataflow.run_to_end(pipeline, poll_interval_secs=0.01)

    return submitted


@pytest.mark.slow
def test_the_job_arrives_with_the_package_and_its_address_is_printed(run, capsys):
    server = DataflowServer("JOB_STATE_DONE")
    run(server)
    (job,) = server.jobs
    assert job["labels"] == {"application": "tpu-images"}
    (pool,) = job["environment"]["workerPools"]
    assert pool["machineType"] == "e2-standard-4"
    assert "workflow.tar.gz" in {package["name"] for package in pool["packages"]}
    out = capsys.readouterr().out
    assert "job: https://console.cloud.google.com/dataflow/jobs/us-central1/job-1?project=my-project" in out


@pytest.mark.slow
@pytest.mark.parametrize("script", [("429", "429"), ("503", "429"), ("", "429", "503", "429")])
def test_busy_services_are_asked_again(run, script):
    server = DataflowServer("JOB_STATE_DONE", ScriptedFaults(*script))
    run(server)
    assert len(server.jobs) == 1


@pytest.mark.slow
@pytest.mark.parametrize("state", ["JOB_STATE_FAILED", "JOB_STATE_CANCELLED"])
def test_a_job_that_does_not_succeed_is_an_error_with_its_address(run, state):
    address = re.escape("https://console.cloud.google.com/dataflow/jobs/us-central1/job-1?project=my-project")
    with pytest.raises(UserError, match=f"{address}: the job ended in the state {state[10:].lower()}; its page"):
        run(DataflowServer(state))


@pytest.mark.slow
def test_a_job_that_is_refused_is_an_error(run):
    with pytest.raises(UserError, match="Dataflow: the job cannot be created"):
        run(DataflowServer("JOB_STATE_DONE", ScriptedFaults("403")))


@pytest.mark.slow
def test_ctrl_c_cancels_the_job(run, monkeypatch):
    def interrupt(secs: float) -> None:
        raise KeyboardInterrupt

    server = DataflowServer("JOB_STATE_RUNNING")
    monkeypatch.setattr(dataflow.time, "sleep", interrupt)
    with pytest.raises(KeyboardInterrupt):
        run(server)
    assert server.cancelled == [dataflow_client.JobState.JOB_STATE_CANCELLED]
