import json
import subprocess
import sys

import pytest
import yaml
from google.cloud import aiplatform_v1
from google.protobuf import json_format

from trainer.errors import UserError
from trainer.submit import command

VERTEX = ["vertex", "--data=gs://bucket/flowers", "--model_dir=gs://bucket/model", "--project=my-project"]
TPU = [*VERTEX, "--preset=flowers", "--region=us-west1", "--tpu_type=v5e:2x4", "--no_preflight"]


def shown_request(capsys) -> dict:
    request = yaml.safe_load(capsys.readouterr().out)
    del request["labels"]["tpu-images-submission"]
    return request


def test_a_dry_run_is_a_custom_job_that_the_real_client_accepts(capsys):
    assert command.main([*TPU, "--image=us-docker.pkg.dev/p/r/trainer:1", "--train_epochs=3", "--dry_run"]) == 0
    request = shown_request(capsys)
    message = json_format.ParseDict(request, aiplatform_v1.CustomJob.pb()())
    (pool,) = message.job_spec.worker_pool_specs
    assert pool.machine_spec.machine_type == "ct5lp-hightpu-8t"
    assert pool.machine_spec.tpu_topology == "2x4"
    assert pool.replica_count == 1
    assert list(pool.container_spec.args) == [
        "train",
        "gs://bucket/flowers",
        "--model_dir=gs://bucket/model",
        "--preset=flowers",
        "--tpu=local",
        "--train_epochs=3.0",
    ]
    assert message.job_spec.base_output_directory.output_uri_prefix == "gs://bucket/model"


def test_a_dry_run_says_what_it_costs_and_where_the_package_goes(capsys):
    assert command.main([*TPU, "--dry_run", "--max_hours=2"]) == 0
    text = capsys.readouterr().out
    assert (
        "# POST https://us-west1-aiplatform.googleapis.com/v1/projects/my-project/locations/us-west1/customJobs" in text
    )
    assert "# cost: about $11.04 per hour while it runs, at most $22.08 in 2 h" in text
    assert "gs://bucket/model/package/" in text


def test_json_carries_the_same_request(capsys):
    command.main([*TPU, "--image=i", "--dry_run"])
    as_yaml = shown_request(capsys)
    command.main([*TPU, "--image=i", "--dry_run", "--format=json"])
    as_json = json.loads(capsys.readouterr().out)["requests"][0]["body"]
    assert set(as_json.pop("labels")) == {"tpu-images-submission"}
    assert as_json == {name: value for name, value in as_yaml.items() if name != "labels"}


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["vertx"], "vertx: no such target; did you mean vertex?"),
        ([*TPU, "--trian_epochs=3"], "--trian_epochs: unknown setting; did you mean --train_epochs?"),
        ([*TPU, "--network=resnet500"], "--network=resnet500: no such network; did you mean resnet50?"),
        ([*TPU, "--preset=flower"], "--preset=flower: no such preset; did you mean flowers?"),
        ([*TPU, "--global_batch_size=100"], "--global_batch_size: 100 examples do not divide among 8 replicas"),
        ([*TPU, "--model_dir=/tmp/model"], "--model_dir=/tmp/model: the cloud cannot reach it; write gs://BUCKET/..."),
        ([*TPU, "--data=gs:///x"], "--data=gs:///x: the cloud cannot reach it"),
        (
            [*TPU, "--tpu_type=v5e:4x4"],
            "--tpu_type=v5e:4x4: is a slice of 4 hosts, and the engines drive the chips of one",
        ),
        ([*TPU, "--tpu=mock:8"], "--tpu=mock:8: pretends a TPU; leave it out in the cloud"),
        ([*TPU, "--project="], "--project: is needed; give it, or set GOOGLE_CLOUD_PROJECT"),
        ([*TPU, "--gpu=NVIDIA_L4:1"], "--gpu=NVIDIA_L4:1: a TPU machine has no GPUs"),
        ([*TPU, "--label=Team=x"], "--label=Team=x: not a label; write key=value in lower-case letters"),
        ([*TPU, "--max_hours=0"], "--max_hours=0: out of range"),
        (
            [*TPU, "--tensorboard=projects/1/locations/us-west1/tensorboards/2"],
            "--tensorboard: Vertex AI writes to it only",
        ),
        (VERTEX, "--tpu_type or --machine_type: is needed; give --tpu_type=v5e:2x4, or --machine_type=g2-standard-8"),
    ],
)
def test_a_mistake_is_refused_before_anything_is_sent(argv, message):
    with pytest.raises(UserError) as refusal:
        command.main([*argv, "--dry_run"])
    assert message in str(refusal.value)


@pytest.mark.parametrize(
    ("module", "argv"),
    [("command", [name, "--help"]) for name in command.TARGETS]
    + [("deploy_command", ["vertex", "--help"]), ("command", ["--help"]), ("deploy_command", ["--help"])],
    ids=lambda value: value if isinstance(value, str) else " ".join(value),
)
def test_help_loads_no_client_library(module, argv):
    program = (
        f"import sys\nfrom trainer.submit import {module}\n"
        f"try:\n    {module}.main({argv!r})\nexcept SystemExit as end:\n    assert end.code == 0\n"
        "print('LOADED', [name for name in ('google.api_core', 'grpc', 'tensorflow', 'jax') if name in sys.modules])"
    )
    finished = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert finished.stdout.startswith("usage: tpu-images ")
    assert finished.stdout.splitlines()[-1] == "LOADED []"


@pytest.mark.parametrize(
    "argv",
    [
        ["submit", *TPU],
        ["submit", "vertex-tune", *TPU[1:]],
        ["submit", "tpu-vm", *VERTEX[1:], "--tpu_type=v5e:2x4", "--zone=us-west4-a"],
        ["deploy", "vertex", "--export_dir=gs://bucket/model/export/1", "--project=p"],
    ],
    ids=lambda argv: " ".join(argv[:2]),
)
def test_without_the_client_libraries_it_says_what_to_install(argv):
    program = (
        "import sys; sys.modules['google.cloud'] = None\nfrom trainer import task\n"
        f"sys.exit(task.main([*{argv!r}, '--dry_run']))"
    )
    finished = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert finished.returncode == 2
    assert finished.stderr == "tpu-images: google.cloud is not installed; pip install 'tpu-images[gcp]'\n"
