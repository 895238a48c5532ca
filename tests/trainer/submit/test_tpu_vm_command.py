import json

import pytest
import yaml
from google.cloud import tpu_v2
from google.protobuf import json_format

from tests.trainer.submit import cloud_servers
from tests.trainer.submit.cloud_servers import Faults
from tests.trainer.submit.tpu_server import STATES, TpuServer, outcome_text
from trainer.errors import UserError
from trainer.submit import command, storage, tpu_vm_request, tpu_vm_service

ARGV = [
    "tpu-vm",
    "--data=gs://bucket/flowers",
    "--model_dir=gs://bucket/model",
    "--project=p",
    "--zone=us-west4-a",
    "--tpu_type=v5e:2x4",
    "--preset=flowers",
    "--no_preflight",
    "--name=flowers",
]


def shown_request(capsys) -> tpu_v2.QueuedResource:
    text = capsys.readouterr().out
    assert "POST https://tpu.googleapis.com/v2/projects/p/locations/us-west4-a/queuedResources?" in text
    return json_format.ParseDict(yaml.safe_load(text), tpu_v2.QueuedResource.pb()())


@pytest.mark.parametrize(
    ("zone", "tpu_type", "accelerator_type", "runtime_version"),
    [
        ("us-central1-b", "v2:2x2", "v2-8", "tpu-ubuntu2204-base"),
        ("us-central2-b", "v4:2x2x1", "v4-8", "tpu-ubuntu2204-base"),
        ("us-west4-a", "v5e:2x4", "v5litepod-8", "v2-alpha-tpuv5-lite"),
        ("us-east5-a", "v5p:2x2x1", "v5p-8", "v2-alpha-tpuv5"),
        ("us-east5-b", "v6e:2x4", "v6e-8", "v2-alpha-tpuv6e"),
    ],
)
def test_a_dry_run_is_a_queued_resource_that_the_real_client_accepts(
    capsys, zone, tpu_type, accelerator_type, runtime_version
):
    assert command.main([*ARGV, f"--zone={zone}", f"--tpu_type={tpu_type}", "--image=i", "--dry_run"]) == 0
    request = json_format.ParseDict(yaml.safe_load(capsys.readouterr().out), tpu_v2.QueuedResource.pb()())
    (spec,) = request.tpu.node_spec
    assert (spec.parent, spec.node_id) == (f"projects/p/locations/{zone}", "flowers")
    assert (spec.node.accelerator_type, spec.node.runtime_version) == (accelerator_type, runtime_version)
    assert spec.node.metadata["startup-script"] == tpu_vm_request.startup_script()
    assert spec.node.metadata["tpu-images-arguments"].splitlines() == [
        "train",
        "gs://bucket/flowers",
        "--model_dir=gs://bucket/model",
        "--preset=flowers",
        "--tpu=local",
    ]
    assert not request.HasField("spot")


def test_spot_is_asked_for_as_spot(capsys):
    command.main([*ARGV, "--image=i", "--dry_run", "--spot"])
    request = shown_request(capsys)
    assert request.HasField("spot")
    assert request.tpu.node_spec[0].node.scheduling_config.spot


def test_without_an_image_the_machine_gets_the_package(capsys):
    command.main([*ARGV, "--dry_run"])
    metadata = shown_request(capsys).tpu.node_spec[0].node.metadata
    assert "pip" in metadata["tpu-images-program"]
    assert metadata["tpu-images-arguments"].startswith("gs://bucket/model/package/")
    assert len(json.dumps(dict(metadata))) < 256 * 1024  # what the metadata server holds


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--name=Flowers"], "--name=Flowers: not a name for a TPU"),
        (["--max_hours=0"], "--max_hours=0: out of range"),
        (["--max_hours=nan"], "--max_hours=nan: out of range"),
        (["--model_dir=model"], "--model_dir=model: the cloud cannot reach it"),
        (["--zone=us-central1"], "--zone=us-central1: has no TPU v5e"),
        (["--tpu_type=tpu7x:2x2x1"], "Cloud TPU creates no TPU tpu7x"),
        (["--global_batch_size=4"], "4 examples do not divide among 8 replicas; use 8"),
    ],
)
def test_a_mistake_is_refused_before_anything_is_sent(words, message):
    with pytest.raises(UserError) as refusal:
        command.main([*ARGV, *words, "--dry_run"])
    assert message in str(refusal.value)


@pytest.mark.parametrize(
    ("exit_status", "status", "message"),
    [(0, 0, "trained: gs://bucket/model"), (1, 1, "the training did not finish (it ended with status 1)")],
)
def test_from_the_command_to_the_end_of_the_training(monkeypatch, capsys, exit_status, status, message):
    def machine():
        storage.connect("p").bucket("bucket").blob("model/tpu_vm/flowers/outcome.json").upload_from_string(
            outcome_text(exit_status)
        )
        return STATES.ACTIVE

    server = TpuServer([machine])
    with server.serve(Faults()), cloud_servers.storage_server(Faults()) as address:
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", address)
        monkeypatch.setenv(tpu_vm_service.EMULATOR_VARIABLE, server.address)
        assert command.main(ARGV) == status
        package = server.created[0].queued_resource.tpu.node_spec[0].node.metadata["tpu-images-arguments"].split()[0]
        assert storage.read_bytes(storage.connect("p"), package)
    assert message in capsys.readouterr().out
    assert server.resources == {}
