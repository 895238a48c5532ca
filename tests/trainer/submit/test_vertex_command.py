"""`tpu-images submit vertex` from flags to what arrives at the services, with and without faults on the way."""

import contextlib

import pytest
from google.cloud import aiplatform_v1

from preprocessing import distribution
from tests.trainer.submit import cloud_servers
from tests.trainer.submit.cloud_servers import Faults
from tests.trainer.submit.vertex_server import VertexServer
from trainer.submit import cloud_logging, command, storage, vertex_service

STATES = aiplatform_v1.JobState
ARGV = [
    "vertex",
    "--data=gs://bucket/flowers",
    "--model_dir=gs://bucket/model",
    "--project=p",
    "--region=us-west1",
    "--tpu_type=v5e:2x4",
    "--preset=flowers",
    "--no_preflight",
    "--label=team=vision",
]


@pytest.fixture
def cloud(monkeypatch):
    """Starts every service that a submission meets, and points the clients to them."""

    @contextlib.contextmanager
    def started(server: VertexServer, *, rate: float = 0.0, lines: tuple[str, ...] = ()):
        with contextlib.ExitStack() as stack:
            stack.enter_context(server.serve(Faults(rate, seed=1)))
            addresses = {
                vertex_service.EMULATOR_VARIABLE: server.address,
                "STORAGE_EMULATOR_HOST": stack.enter_context(cloud_servers.storage_server(Faults(rate, seed=2))),
                cloud_logging.EMULATOR_VARIABLE: stack.enter_context(
                    cloud_servers.logging_server(lines, Faults(rate, seed=3))
                ),
            }
            for name, value in addresses.items():
                monkeypatch.setenv(name, value)
            yield

    return started


def test_the_package_is_uploaded_and_the_job_names_it(cloud, capsys, tmp_path):
    server = VertexServer()
    with cloud(server):
        assert command.main(ARGV) == 0
        (job,) = server.custom_jobs.values()
        container = job.job_spec.worker_pool_specs[0].container_spec
        uploaded = storage.read_bytes(storage.connect("p"), container.args[0])
    assert container.args[1] == "tpu,gcp"
    assert container.args[2:4] == ["train", "gs://bucket/flowers"]
    assert job.labels["team"] == "vision"
    package = tmp_path / "package.tar.gz"
    package.write_bytes(uploaded)
    assert distribution.content_digest(package) in container.args[0]
    out = capsys.readouterr().out
    assert f"submitted: {job.name}" in out
    assert "https://console.cloud.google.com/vertex-ai/locations/us-west1/training/1?project=p" in out


def test_what_is_sent_is_what_the_dry_run_shows(cloud, capsys):
    server = VertexServer()
    with cloud(server):
        assert command.main([*ARGV, "--image=i", "--dry_run"]) == 0
        assert server.calls == []
        shown = capsys.readouterr().out
        assert command.main([*ARGV, "--image=i"]) == 0
    (_, request) = server.calls[0]
    sent = aiplatform_v1.CustomJob.to_json(request.custom_job, use_integers_for_enums=False, indent=None)
    assert '"machineType": "ct5lp-hightpu-8t"' in sent
    for line in ("machineType: ct5lp-hightpu-8t", "tpuTopology: 2x4", "strategy: STANDARD", "timeout: 86400s"):
        assert line in shown


@pytest.mark.parametrize(
    ("end", "status", "message"),
    [
        (STATES.JOB_STATE_SUCCEEDED, 0, "succeeded"),
        (STATES.JOB_STATE_FAILED, 1, "the job ended in failed: see its log"),
        (STATES.JOB_STATE_CANCELLED, 1, "the job ended in cancelled"),
    ],
)
def test_waiting_shows_states_and_log_lines_once(cloud, capsys, end, status, message):
    with cloud(VertexServer(states=(end,)), lines=("step 1", "step 2")):
        assert command.main([*ARGV, "--image=i", "--wait"]) == status
    out = capsys.readouterr().out
    assert message in out
    assert out.count("step 1") == out.count("step 2") == 1


@pytest.mark.slow
def test_with_five_percent_of_faults_every_submission_succeeds_once(cloud):
    server = VertexServer(states=(STATES.JOB_STATE_SUCCEEDED,))
    with cloud(server, rate=0.05):
        for _ in range(15):
            assert command.main([*ARGV, "--wait"]) == 0
    assert len(server.custom_jobs) == 15
