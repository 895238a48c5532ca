import pytest

from trainer.engine.spec import ModeKeys
from trainer.engine.tf_engine import TfEngine
from trainer.estimator.tpu_config import InputPipelineConfig
from trainer.estimator.tpu_context import Deployment


class FourReplicas(TfEngine):
    num_replicas = 4
    num_local_replicas = 4


def deployment(pipeline, batch_size=32, **fields):
    return Deployment(
        FourReplicas(),
        {ModeKeys.TRAIN: batch_size},
        input_pipelines={ModeKeys.TRAIN: pipeline},
        **{"is_tpu": True, **fields},
    )


@pytest.mark.parametrize(
    ("pipeline", "input_batch_size", "model_batch_size", "input_calls"),
    [
        (InputPipelineConfig.PER_SHARD_V1, 8, 8, 4),
        (InputPipelineConfig.PER_HOST_V1, 32, 8, 1),
        (InputPipelineConfig.PER_HOST_V2, 8, 8, 1),
        (InputPipelineConfig.BROADCAST, 32, 32, 1),
        (InputPipelineConfig.SLICED, 32, 8, 1),
    ],
)
def test_batch_sizes_in_each_mode(pipeline, input_batch_size, model_batch_size, input_calls):
    found = deployment(pipeline)
    assert found.input_batch_size(ModeKeys.TRAIN) == input_batch_size
    assert found.model_batch_size(ModeKeys.TRAIN) == model_batch_size
    assert found.input_calls(ModeKeys.TRAIN) == input_calls


def test_two_hosts_share_a_batch():
    found = deployment(InputPipelineConfig.PER_HOST_V1, num_hosts=2, host=1)
    assert (found.input_batch_size(ModeKeys.TRAIN), found.model_batch_size(ModeKeys.TRAIN)) == (16, 8)
    context = found.input_context(ModeKeys.TRAIN, 0)
    assert context.current_input_fn_deployment() == ("/device:CPU:0", 1, 2, 2)
    assert (context.num_hosts, context.current_host, context.num_of_replicas_per_host) == (2, 1, 2)


def test_off_the_tpu_every_size_is_global():
    found = deployment(InputPipelineConfig.PER_HOST_V1, is_tpu=False)
    assert found.input_batch_size(ModeKeys.TRAIN) == found.model_batch_size(ModeKeys.TRAIN) == 32


def test_a_batch_that_replicas_cannot_share_is_refused():
    with pytest.raises(ValueError, match="train_batch_size 30 must be divisible by the number of replicas 4; use 28"):
        deployment(InputPipelineConfig.PER_HOST_V1, batch_size=30)


def test_a_missing_batch_size_is_refused():
    with pytest.raises(ValueError, match="eval_batch_size in TPUEstimator must be given"):
        deployment(InputPipelineConfig.PER_HOST_V1).input_batch_size(ModeKeys.EVAL)


@pytest.mark.parametrize(
    ("pipeline", "call", "expected"),
    [
        (InputPipelineConfig.PER_SHARD_V1, 2, (2, 4, 1)),
        (InputPipelineConfig.PER_HOST_V1, 0, (0, 1, 4)),
        (InputPipelineConfig.BROADCAST, 0, (0, 1, 4)),
    ],
)
def test_current_input_fn_deployment(pipeline, call, expected):
    context = deployment(pipeline).input_context(ModeKeys.TRAIN, call)
    assert context.current_input_fn_deployment() == ("/device:CPU:0", *expected)


def test_input_fn_and_model_fn_may_ask_for_different_things():
    found = deployment(InputPipelineConfig.PER_HOST_V1)
    in_input_fn, in_model_fn = found.input_context(ModeKeys.TRAIN, 0), found.model_context(ModeKeys.TRAIN)
    for name in ("current_host", "num_of_replicas_per_host"):
        with pytest.raises(RuntimeError, match=f"{name} must be called from input_fn"):
            getattr(in_model_fn, name)
    with pytest.raises(RuntimeError, match="must be called from input_fn"):
        in_model_fn.current_input_fn_deployment()
    with pytest.raises(RuntimeError, match="device_assignment must be called from model_fn"):
        in_input_fn.device_assignment  # noqa: B018
    assert in_model_fn.num_replicas == in_input_fn.num_replicas == 4
    assert in_model_fn.device_for_replica(3) == ("/task:0/device:CPU:0", 3)
