import json

import numpy as np
import pytest
import tensorflow as tf

from trainer.estimator import run_config, tpu_config
from trainer.estimator.tpu_config import InputPipelineConfig, TPUConfig

BOTH = pytest.mark.parametrize("config_class", [run_config.RunConfig, tpu_config.RunConfig])


@BOTH
def test_defaults(config_class):
    config = config_class()
    assert (config.save_checkpoints_secs, config.save_checkpoints_steps) == (600, None)
    assert (config.save_summary_steps, config.log_step_count_steps, config.keep_checkpoint_max) == (100, 100, 5)
    assert (config.model_dir, config.tf_random_seed, config.is_chief, config.task_type) == (None, None, True, "worker")


@BOTH
@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"save_checkpoints_steps": 1, "save_checkpoints_secs": 1}, "Can not provide both"),
        ({"save_checkpoints_steps": -1}, "save_checkpoints_steps should be >= 0"),
        ({"save_summary_steps": -1}, "save_summary_steps should be >= 0"),
        ({"keep_checkpoint_max": -1}, "keep_checkpoint_max should be >= 0"),
        ({"keep_checkpoint_every_n_hours": 0}, "keep_checkpoint_every_n_hours should be > 0"),
        ({"tf_random_seed": 1.5}, "tf_random_seed must be integer"),
        ({"model_dir": ""}, "model_dir should be non-empty"),
        ({"train_distribute": object()}, "use TPUEstimator"),
    ],
)
def test_a_wrong_value_is_refused(config_class, fields, message):
    with pytest.raises(ValueError, match=message):
        config_class(**fields)


@BOTH
@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"save_checkpoints_steps": 5}, (5, None)),
        ({"save_checkpoints_secs": 5}, (None, 5)),
        ({"save_checkpoints_secs": None}, (None, None)),
        ({"save_checkpoints_steps": None, "save_checkpoints_secs": None}, (None, None)),
    ],
)
def test_one_cadence_of_checkpoints_excludes_the_other(config_class, fields, expected):
    for config in (config_class(**fields), config_class().replace(**fields)):
        assert (config.save_checkpoints_steps, config.save_checkpoints_secs) == expected


@BOTH
@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"save_checkpoints_secs": None}, (5, None)),
        ({"save_checkpoints_steps": None}, (None, None)),
        ({"save_checkpoints_secs": 7}, (None, 7)),
        ({"keep_checkpoint_max": 1}, (5, None)),
    ],
)
def test_switching_one_cadence_off_leaves_the_other(config_class, changes, expected):
    config = config_class(save_checkpoints_steps=5).replace(**changes)
    assert (config.save_checkpoints_steps, config.save_checkpoints_secs) == expected


@BOTH
def test_replace_leaves_the_original_alone(config_class):
    config = config_class(model_dir="/one", keep_checkpoint_max=2)
    replaced = config.replace(model_dir="/two")
    assert (config.model_dir, replaced.model_dir, replaced.keep_checkpoint_max) == ("/one", "/two", 2)
    assert isinstance(replaced, config_class)


def test_replace_keeps_what_is_particular_to_tpus():
    config = tpu_config.RunConfig(TPUConfig(iterations_per_loop=7), master="mock:2").replace(model_dir="/x")
    assert (config.tpu_config.iterations_per_loop, config.master, config.evaluation_master) == (7, "mock:2", "mock:2")
    assert config.replace(tpu_config=TPUConfig(iterations_per_loop=9)).tpu_config.iterations_per_loop == 9


def test_the_cluster_resolver_names_the_master():
    class Resolver:
        def master(self):
            return "local"

    resolver = Resolver()
    config = tpu_config.RunConfig(cluster=resolver)
    assert config.master == config.replace(model_dir="/x").master == "local"
    with pytest.raises(ValueError, match="Both master and cluster are set"):
        tpu_config.RunConfig(cluster=resolver, master="gpu")


def test_an_unknown_argument_is_refused():
    with pytest.raises(TypeError, match="no argument save_every"):
        tpu_config.RunConfig(save_every=3)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"iterations_per_loop": 0}, "Invalid TPUConfig `iterations_per_loop` value"),
        ({"iterations_per_loop": "5 minutes"}, "such as '30s'"),
        ({"num_shards": 0}, "num_shards must be a positive integer"),
        ({"num_cores_per_replica": 3}, "must be one of 1, 2, 4"),
        ({"num_cores_per_replica": 2}, "model parallelism"),
        ({"input_partition_dims": [[1, 2]]}, "requires num_cores_per_replica"),
        ({"eval_training_input_configuration": InputPipelineConfig.BROADCAST}, "PER_HOST_V1 or SLICED"),
        ({"per_host_input_for_training": 9}, "must be True, False or an InputPipelineConfig, got 9"),
        ({"initial_infeed_sleep_secs": -1}, "initial_infeed_sleep_secs must be a positive"),
    ],
)
def test_tpu_config_checks_itself(fields, message):
    with pytest.raises(ValueError, match=message):
        TPUConfig(**fields)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (True, InputPipelineConfig.PER_HOST_V1),
        (False, InputPipelineConfig.PER_SHARD_V1),
        (InputPipelineConfig.BROADCAST, InputPipelineConfig.BROADCAST),
        (3, InputPipelineConfig.PER_HOST_V2),
    ],
)
def test_per_host_input_for_training_stands_for_a_mode(given, expected):
    config = TPUConfig(per_host_input_for_training=given)
    assert config.input_pipeline is config.per_host_input_for_training is expected


def test_numbers_of_numpy_are_numbers():
    config = TPUConfig(iterations_per_loop=np.int64(7), num_shards=np.int32(2))
    assert (config.iterations_per_loop, config.num_shards) == (7, 2)


def test_a_strategy_for_one_device_is_as_good_as_none():
    strategy = tf.distribute.OneDeviceStrategy("/cpu:0")
    assert run_config.RunConfig(train_distribute=strategy, eval_distribute=strategy).train_distribute is strategy


@pytest.mark.parametrize(("given", "secs"), [("30s", 30), ("5m", 300), ("1h", 3600), (100, None)])
def test_iterations_per_loop_may_be_a_duration(given, secs):
    assert tpu_config.loop_duration_secs(TPUConfig(iterations_per_loop=given).iterations_per_loop) == secs


CLUSTER = {"chief": ["h0:1"], "worker": ["h1:1", "h2:1"], "ps": ["h3:1"]}


def set_tf_config(monkeypatch, **config):
    monkeypatch.setenv("TF_CONFIG", json.dumps(config))


def test_tf_config_says_which_task_this_is(monkeypatch):
    set_tf_config(monkeypatch, cluster=CLUSTER, task={"type": "worker", "index": 1})
    config = run_config.RunConfig()
    assert (config.task_type, config.task_id, config.is_chief) == ("worker", 1, False)
    assert (config.num_ps_replicas, config.num_worker_replicas, config.global_id_in_cluster) == (1, 3, 2)
    assert config.cluster_spec.as_dict()["ps"] == ["h3:1"]


def test_the_chief_of_tf_config_is_chief(monkeypatch):
    set_tf_config(monkeypatch, cluster=CLUSTER, task={"type": "chief", "index": 0}, model_dir="/m")
    config = run_config.RunConfig()
    assert (config.is_chief, config.model_dir) == (True, "/m")
    with pytest.raises(ValueError, match="model_dir is '/other' in the RunConfig but '/m' in TF_CONFIG"):
        run_config.RunConfig(model_dir="/other")


def test_the_evaluator_of_tf_config_is_in_no_cluster(monkeypatch):
    set_tf_config(monkeypatch, cluster=CLUSTER, task={"type": "evaluator", "index": 0})
    config = run_config.RunConfig()
    assert (config.task_type, config.is_chief, config.cluster_spec.as_dict()) == ("evaluator", False, {})
    assert (config.num_ps_replicas, config.num_worker_replicas, config.global_id_in_cluster) == (0, 0, None)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"cluster": CLUSTER, "task": {"type": "worker", "index": 2}}, "there is no task 2"),
        ({"cluster": CLUSTER}, "task type and index must be set"),
        ({"cluster": CLUSTER, "task": {"index": 0}}, "task type and index must be set"),
        ({"task": {"type": "ps", "index": 0}}, "task ps 0 without a cluster"),
        ({"task": {"type": "worker", "index": 1}}, "task worker 1 without a cluster"),
        ({"model_dir": ""}, "model_dir should be non-empty in TF_CONFIG"),
        ({"cluster": {"worker": ["h:1"]}, "task": {"type": "worker", "index": 0}}, 'exactly one "chief"'),
        ({"task": {"type": "boss"}}, "not one of chief"),
        ({"task": {"index": -1}}, "must not be negative"),
        ({"cluster": ["h:1"]}, "not a JSON object with cluster and task"),
    ],
)
def test_an_inconsistent_tf_config_is_refused(monkeypatch, config, message):
    set_tf_config(monkeypatch, **config)
    with pytest.raises(ValueError, match=message):
        run_config.RunConfig()


def test_a_tf_config_that_is_no_json_is_refused(monkeypatch):
    monkeypatch.setenv("TF_CONFIG", "{")
    with pytest.raises(ValueError, match="TF_CONFIG is not a JSON object"):
        run_config.RunConfig()


@pytest.mark.parametrize("config", [run_config.RunConfig(), tpu_config.RunConfig()], ids=["plain", "tpu"])
def test_a_replacement_of_what_is_not_there_is_refused(config):
    with pytest.raises(ValueError, match="Replacing save_steps is not supported; allowed are"):
        config.replace(save_steps=1)
