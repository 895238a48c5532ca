import json

import pytest

from trainer import cloud_environment
from trainer.errors import UserError

CLUSTER_SPEC = {
    "cluster": {"workerpool0": ["cmle-training-workerpool0-0:2222"], "workerpool1": ["a:2222", "b:2222"]},
    "environment": "cloud",
    "task": {"type": "workerpool1", "index": 1, "trial": "3"},
    "job": "{}",
}


def test_outside_the_cloud_everything_is_empty():
    environment = cloud_environment.read({"HOME": "/root"})
    assert environment == cloud_environment.CloudEnvironment()
    assert environment.task.is_chief


def test_directories_of_a_job():
    environment = cloud_environment.read(
        {
            "AIP_MODEL_DIR": "gs://b/run/2/model/",
            "AIP_CHECKPOINT_DIR": "gs://b/run/2/checkpoints/",
            "AIP_TENSORBOARD_LOG_DIR": "gs://b/run/2/logs/",
            "CLOUD_ML_JOB_ID": "42",
            "CLOUD_ML_TRIAL_ID": "2",
        }
    )
    assert environment.checkpoint_dir == "gs://b/run/2/checkpoints"
    assert environment.export_dir == "gs://b/run/2/model"
    assert environment.tensorboard_dir == "gs://b/run/2/logs"
    assert (environment.job_id, environment.trial_id) == ("42", "2")
    assert environment.metric_file == "/tmp/hypertune/output.metrics"  # noqa: S108


def test_cluster_spec_comes_before_tf_config():
    tf_config = {"cluster": {"chief": ["c:2222"]}, "task": {"type": "chief", "index": 0}}
    environment = {"CLUSTER_SPEC": json.dumps(CLUSTER_SPEC), "TF_CONFIG": json.dumps(tf_config)}
    task = cloud_environment.read(environment).task
    assert task == cloud_environment.ClusterTask("workerpool1", 1, 3)
    assert not task.is_chief
    del environment["CLUSTER_SPEC"]
    assert cloud_environment.read(environment).task == cloud_environment.ClusterTask("chief", 0, 1)


@pytest.mark.parametrize("text", ["{", "[]", '{"cluster": {}}', '{"cluster": {}, "task": {"type": "a", "index": "x"}}'])
@pytest.mark.parametrize("variable", ["CLUSTER_SPEC", "TF_CONFIG"])
def test_a_broken_cluster_description_is_named(variable, text):
    with pytest.raises(UserError, match=f"{variable}: not a cluster description"):
        cloud_environment.read({variable: text})


def test_metrics_of_a_trial_are_lines_of_the_hypertune_form(tmp_path):
    path = tmp_path / "hypertune" / "output.metrics"
    environment = cloud_environment.read({"CLOUD_ML_TRIAL_ID": "7", "CLOUD_ML_HP_METRIC_FILE": str(path)})
    cloud_environment.report_metrics(environment, {"accuracy": 0.5, "loss": float("nan")}, global_step=10)
    cloud_environment.report_metrics(environment, {"accuracy": 0.75}, global_step=20)
    first, second = map(json.loads, path.read_text().splitlines())
    assert (first["trial"], first["accuracy"], first["global_step"]) == ("7", "0.5", "10")
    assert (second["accuracy"], second["global_step"]) == ("0.75", "20")
    assert second["timestamp"] >= first["timestamp"]


def test_the_metric_file_keeps_its_last_hundred_lines(tmp_path):
    environment = cloud_environment.CloudEnvironment(trial_id="1", metric_file=str(tmp_path / "metrics"))
    for step in range(103):
        cloud_environment.report_metrics(environment, {"accuracy": 0.1}, global_step=step)
    steps = [json.loads(line)["global_step"] for line in (tmp_path / "metrics").read_text().splitlines()]
    assert steps == [str(step) for step in range(3, 103)]


def test_outside_a_tuning_job_nothing_is_written(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    cloud_environment.report_metrics(cloud_environment.read({}), {"accuracy": 0.5}, global_step=1)
    assert list(tmp_path.iterdir()) == []
