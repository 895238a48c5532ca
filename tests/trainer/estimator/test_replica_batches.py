import numpy as np
import pytest
import tensorflow as tf

from trainer.engine.spec import ModeKeys
from trainer.engine.tf_engine import TfEngine
from trainer.estimator import replica_batches
from trainer.estimator.input_source import BatchStream
from trainer.estimator.replica_batches import ReplicaLayout
from trainer.estimator.tpu_config import InputPipelineConfig
from trainer.estimator.tpu_context import Deployment


class TwoReplicas(TfEngine):
    num_replicas = 2
    num_local_replicas = 2


def layout(stream, pipeline=InputPipelineConfig.PER_HOST_V1, mode=ModeKeys.TRAIN, batch_axis=None):
    deployment = Deployment(
        TwoReplicas(), {mode: 4}, input_pipelines={mode: pipeline}, batch_axis=batch_axis, is_tpu=True
    )
    return ReplicaLayout(stream.element_spec, deployment, mode)


def counting(num_examples, batch_size, drop_remainder=True):
    return BatchStream(tf.data.Dataset.range(num_examples).batch(batch_size, drop_remainder=drop_remainder))


def engine_batches(found, *streams):
    return [found.divide(batch)[0].numpy().tolist() for batch in found.host_batches(streams)]


def test_one_batch_is_divided_among_the_replicas():
    stream = counting(8, 4)
    found = layout(stream)
    assert found.replica_spec.shape == [2]
    assert engine_batches(found, stream) == [[0, 1, 2, 3], [4, 5, 6, 7]]


def test_each_replica_takes_an_element_of_its_own():
    stream = counting(8, 2)
    found = layout(stream, InputPipelineConfig.PER_HOST_V2)
    assert found.replica_spec.shape == [2]
    assert engine_batches(found, stream) == [[0, 1, 2, 3], [4, 5, 6, 7]]


def test_each_replica_has_an_input_of_its_own():
    streams = counting(4, 2), BatchStream(tf.data.Dataset.range(10, 14).batch(2, drop_remainder=True))
    found = layout(streams[0], InputPipelineConfig.PER_SHARD_V1)
    assert engine_batches(found, *streams) == [[0, 1, 10, 11], [2, 3, 12, 13]]


def test_every_replica_gets_the_whole_batch():
    stream = counting(8, 4)
    found = layout(stream, InputPipelineConfig.BROADCAST)
    assert found.replica_spec.shape == [4]
    assert engine_batches(found, stream) == [[0, 1, 2, 3] * 2, [4, 5, 6, 7] * 2]


def test_batches_are_divided_along_their_batch_axis():
    pixels = np.arange(24).reshape(3, 2, 4)
    stream = BatchStream(tf.data.Dataset.from_tensors((pixels, np.arange(4), 7)))
    found = layout(stream, batch_axis=(2, 0, None))
    assert [spec.shape.as_list() for spec in found.replica_spec] == [[3, 2, 2], [2], []]
    (batch,) = map(found.divide, found.host_batches([stream]))
    np.testing.assert_array_equal(batch[0], np.concatenate([pixels[..., :2], pixels[..., 2:]]))
    np.testing.assert_array_equal(batch[1], np.arange(4))


def test_the_batch_axis_of_every_tensor_must_be_given():
    with pytest.raises(ValueError, match="batch_axis has 2 entries but the input_fn returns 1 tensors"):
        _ = layout(counting(8, 4), batch_axis=(0, 0)).replica_spec


def test_shapes_must_be_static_to_train():
    with pytest.raises(ValueError, match=r"must have static shape.*drop_remainder=True"):
        _ = layout(counting(8, 4, drop_remainder=False)).replica_spec


def test_a_batch_that_cannot_be_divided_is_refused():
    with pytest.raises(ValueError, match=r"batch of 3 cannot be divided among 2 replicas; make batches of params"):
        _ = layout(counting(6, 3)).replica_spec


def test_batches_of_another_size_are_warned_of(caplog):
    _ = layout(counting(8, 4)).replica_spec
    assert not caplog.records
    _ = layout(counting(8, 2)).replica_spec
    assert "not of the size that was asked for, params['batch_size'] = 4" in caplog.text


@pytest.mark.parametrize("shape", [[6, 6, 3, 2], [6 * 6 * 3 * 2]], ids=["transposed", "flat"])
def test_images_whose_first_axis_is_not_the_batch_are_not_warned_of(caplog, shape):
    stream = BatchStream(tf.data.Dataset.from_tensors((tf.zeros(shape), [0, 1])))
    _ = layout(stream, InputPipelineConfig.PER_HOST_V2).replica_spec
    assert not caplog.records


def test_text_is_refused():
    stream = BatchStream(tf.data.Dataset.from_tensors(["a", "b", "c", "d"]))
    with pytest.raises(ValueError, match=r"returns text .* which a TPU does not take; make numbers of it"):
        _ = layout(stream).replica_spec


@pytest.mark.parametrize(
    ("pipeline", "batch_size"), [(InputPipelineConfig.PER_HOST_V1, 4), (InputPipelineConfig.PER_HOST_V2, 2)]
)
def test_the_last_batch_of_an_evaluation_may_be_smaller(pipeline, batch_size):
    stream = counting(7, batch_size, drop_remainder=False)
    found = layout(stream, pipeline, ModeKeys.EVAL)
    assert found.replica_spec.shape == [2]
    batches = list(found.host_batches([stream]))
    assert [found.is_full(batch) for batch in batches] == [True, False]
    assert batches[1][0].numpy().tolist() == [4, 5, 6]
    assert replica_batches.pad(batches[1], found.full_num_rows)[0].numpy().tolist() == [4, 5, 6, 6]


def test_off_the_tpu_batches_are_what_they_are():
    stream = counting(7, 4, drop_remainder=False)
    found = ReplicaLayout(stream.element_spec, Deployment(TfEngine()), ModeKeys.TRAIN)
    assert found.replica_spec.shape.as_list() == [None]
    assert engine_batches(found, stream) == [[0, 1, 2, 3], [4, 5, 6]]
