import pytest
from google.cloud import aiplatform_v1

from tests.trainer.submit.cloud_servers import Faults, ScriptedFaults
from tests.trainer.submit.vertex_server import VertexServer
from trainer.errors import UserError
from trainer.submit import vertex_service

PARENT = "projects/p/locations/us-west1"


def new_job() -> aiplatform_v1.CustomJob:
    return aiplatform_v1.CustomJob(display_name="job", labels=vertex_service.new_submission_label())


@pytest.fixture
def connect(monkeypatch):
    def connected(server: VertexServer) -> aiplatform_v1.JobServiceClient:
        monkeypatch.setenv(vertex_service.EMULATOR_VARIABLE, server.address)
        return vertex_service.job_client("us-west1")

    return connected


@pytest.mark.parametrize(
    "script", [(), ("429",), ("503", "429"), ("reset",), ("reset", "reset", "503"), ("503", "reset", "429")]
)
def test_a_job_is_created_once_whatever_goes_wrong_on_the_way(connect, script):
    with VertexServer().serve(ScriptedFaults(*script)) as server:
        job = new_job()
        created = vertex_service.create_job(connect(server), PARENT, job)
        assert list(server.custom_jobs) == [created.name]
        assert created.labels == job.labels


def test_after_four_tries_it_says_what_the_cloud_said(connect):
    with VertexServer().serve(ScriptedFaults(*["429"] * 5)) as server:
        with pytest.raises(
            UserError, match=r"create a custom job: 4 tries failed: try again later; wait, or ask for more"
        ):
            vertex_service.create_job(connect(server), PARENT, new_job())
        assert server.custom_jobs == {}


@pytest.mark.slow
def test_with_five_percent_of_faults_everything_succeeds(connect):
    faults = Faults(rate=0.05, seed=1)
    with VertexServer().serve(faults) as server:
        client = connect(server)
        for _ in range(60):
            created = vertex_service.create_job(client, PARENT, new_job())
            job = vertex_service.wait(
                lambda job=created: vertex_service.get_job(client, job),
                lambda job: None,
                poll_interval_secs=0,
            )
            assert job.state == aiplatform_v1.JobState.JOB_STATE_SUCCEEDED
        assert len(server.custom_jobs) == 60
    assert faults.num_faults >= 5


def test_a_job_that_is_gone_is_an_error_with_a_remedy(connect):
    with VertexServer().serve(Faults()) as server:
        client = connect(server)
        with pytest.raises(UserError, match=r"look at the job: .*/9; check --project, the region and the name"):
            vertex_service.wait(
                lambda: vertex_service.get_job(client, aiplatform_v1.CustomJob(name=f"{PARENT}/customJobs/9")),
                print,
                poll_interval_secs=0,
            )


def test_the_console_address_of_a_job():
    job = aiplatform_v1.CustomJob(name="projects/p/locations/us-west1/customJobs/42")
    assert (
        vertex_service.console_url(job)
        == "https://console.cloud.google.com/vertex-ai/locations/us-west1/training/42?project=p"
    )
