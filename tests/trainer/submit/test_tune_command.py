import pytest
import yaml
from google.cloud import aiplatform_v1
from google.protobuf import json_format

from tests.trainer.submit.cloud_servers import ScriptedFaults
from tests.trainer.submit.vertex_server import VertexServer
from trainer.errors import UserError
from trainer.submit import command, vertex_service

ARGV = [
    "vertex-tune",
    "--data=gs://bucket/flowers",
    "--model_dir=gs://bucket/study",
    "--project=p",
    "--machine_type=n1-standard-8",
    "--gpu=NVIDIA_TESLA_T4:2",
    "--preset=flowers",
    "--image=i",
    "--max_trials=6",
    "--max_hours=1",
    "--tune=base_learning_rate=0.01..1:log",
]


def test_a_dry_run_is_a_tuning_job_and_counts_every_trial(capsys):
    assert command.main([*ARGV, "--dry_run"]) == 0
    text = capsys.readouterr().out
    job = json_format.ParseDict(yaml.safe_load(text), aiplatform_v1.HyperparameterTuningJob.pb()())
    (pool,) = job.trial_job_spec.worker_pool_specs
    assert list(pool.container_spec.args) == ["train", "gs://bucket/flowers", "--preset=flowers", "--engine=pjrt"]
    assert job.trial_job_spec.base_output_directory.output_uri_prefix == "gs://bucket/study"
    assert "cost: about $2.48 per hour while it runs, at most $7.45 in 6 runs of 1 h" in text
    assert "locations/us-central1/hyperparameterTuningJobs" in text


def test_it_is_created_once_and_followed(monkeypatch, capsys):
    with VertexServer().serve(ScriptedFaults("reset", "503")) as server:
        monkeypatch.setenv(vertex_service.EMULATOR_VARIABLE, server.address)
        assert command.main(ARGV) == 0
    (name,) = server.tuning_jobs
    assert name in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--tune=global_batch_size=64,65"], "--global_batch_size: 65 examples do not divide among 2 replicas"),
        (["--tune=network=resnet18,resnet500"], "--network=resnet500: no such network; did you mean resnet50?"),
        (["--base_learning_rate=0.1"], "--base_learning_rate: is both fixed and varied"),
    ],
)
def test_every_value_must_fit_the_machine(words, message):
    with pytest.raises(UserError) as refusal:
        command.main([*ARGV, *words, "--dry_run"])
    assert message in str(refusal.value)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--metric=top_3_accuracy"], "--metric=top_3_accuracy: is not measured with --top_k=5"),
        (
            ["--metric=top_5_accuracy", "--num_classes=2"],
            "with --top_k=5 and --num_classes=2; give top_1_accuracy, top_2_",
        ),
    ],
)
def test_a_metric_that_no_trial_reports_is_refused(words, message):
    with pytest.raises(UserError) as refusal:
        command.main([*ARGV, *words, "--dry_run"])
    assert message in str(refusal.value)
    assert command.main([*ARGV, "--metric=top_3_accuracy", "--top_k=3", "--dry_run"]) == 0


def test_without_anything_to_vary_it_is_refused():
    with pytest.raises(UserError, match="--tune: there is nothing to vary"):
        command.main([word for word in ARGV if not word.startswith("--tune")])
