import contextlib

import pytest
import yaml
from google.cloud import aiplatform_v1
from google.protobuf import json_format

from tests.trainer.submit import cloud_servers
from tests.trainer.submit.cloud_servers import Faults, ScriptedFaults
from tests.trainer.submit.deployment_server import DeploymentServer
from trainer.errors import UserError
from trainer.submit import deploy_command, deployment_service, storage, vertex_service

ARGV = ["vertex", "--export_dir=gs://bucket/model/export/1700000000", "--project=p", "--name=flowers"]


@pytest.fixture
def cloud(monkeypatch):
    monkeypatch.setattr(deployment_service, "POLL_INTERVAL_SECS", 0.01)

    @contextlib.contextmanager
    def started(server: DeploymentServer, faults: Faults, *, has_export: bool = True):
        with server.serve(faults), cloud_servers.storage_server(Faults()) as address:
            monkeypatch.setenv("STORAGE_EMULATOR_HOST", address)
            monkeypatch.setenv(vertex_service.EMULATOR_VARIABLE, server.address)
            if has_export:
                bucket = storage.connect("p").bucket("bucket")
                bucket.blob("model/export/1700000000/saved_model.pb").upload_from_string(b"graph")
            yield

    return started


def test_a_dry_run_shows_the_three_requests_that_the_real_clients_accept(capsys):
    assert deploy_command.main([*ARGV, "--dry_run"]) == 0
    text = capsys.readouterr().out
    upload, create, deploy = yaml.safe_load_all(text)
    json_format.ParseDict(upload, aiplatform_v1.UploadModelRequest.pb()())
    json_format.ParseDict(create, aiplatform_v1.CreateEndpointRequest.pb()())
    json_format.ParseDict(deploy, aiplatform_v1.DeployModelRequest.pb()())
    assert deploy["deployedModel"]["model"].endswith(f"/models/{upload['modelId']}")
    assert "# cost: about $0.22 per hour, $160 per month, until it is undeployed" in text


@pytest.mark.parametrize(
    "script",
    [
        (),
        ("reset",),
        ("503", "reset", "429"),
        ("", "", "reset"),
        ("", "", "", "reset", "503"),
        ("", "", "", "", "429", "reset"),
    ],
)
def test_each_step_happens_once_whatever_goes_wrong_on_the_way(cloud, capsys, script):
    server = DeploymentServer()
    with cloud(server, ScriptedFaults(*script)):
        assert deploy_command.main(ARGV) == 0
    (model,) = server.models
    (endpoint,) = server.endpoints.values()
    (deployed,) = endpoint.deployed_models
    assert deployed.model == model
    assert f"https://us-central1-aiplatform.googleapis.com/v1/{endpoint.name}:predict" in capsys.readouterr().out


def test_an_existing_endpoint_is_used(cloud):
    server = DeploymentServer()
    name = "projects/p/locations/us-central1/endpoints/7"
    server.endpoints[name] = aiplatform_v1.Endpoint(name=name)
    with cloud(server, Faults()):
        assert deploy_command.main([*ARGV, "--endpoint=7"]) == 0
    assert list(server.endpoints) == [name]
    assert len(server.endpoints[name].deployed_models) == 1


def test_without_an_export_nothing_is_registered(cloud):
    server = DeploymentServer()
    with (
        cloud(server, Faults(), has_export=False),
        pytest.raises(UserError, match=r"saved_model.pb: there is no export; make one: tpu-images export"),
    ):
        deploy_command.main(ARGV)
    assert server.calls == []


def test_what_the_cloud_says_of_a_failed_operation_is_shown(cloud):
    with (
        cloud(DeploymentServer(error="the image cannot be pulled"), Faults()),
        pytest.raises(UserError, match="register the model: the image cannot be pulled"),
    ):
        deploy_command.main(ARGV)


@pytest.mark.slow
def test_with_five_percent_of_faults_every_deployment_succeeds(cloud):
    server = DeploymentServer()
    with cloud(server, Faults(0.05, seed=4)):
        for _ in range(20):
            assert deploy_command.main(ARGV) == 0
    assert len(server.models) == 20
    assert all(len(endpoint.deployed_models) == 1 for endpoint in server.endpoints.values())


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--export_dir=model/export/1"], "--export_dir=model/export/1: the cloud cannot reach it"),
        (["--project="], "--project: is needed"),
        (["--machine_type=n1-standard-5"], "no such machine type in our table; did you mean n1-standard-"),
    ],
)
def test_a_mistake_is_refused_before_anything_is_sent(words, message):
    with pytest.raises(UserError) as refusal:
        deploy_command.main([*ARGV, *words, "--dry_run"])
    assert message in str(refusal.value)


def test_a_setting_of_the_training_is_refused():
    with pytest.raises(UserError, match="--train_epochs: is no flag of deploy"):
        deploy_command.main([*ARGV, "--train_epochs=3", "--dry_run"])
