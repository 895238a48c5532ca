import itertools

import numpy as np
import pytest
import tensorflow as tf

from trainer.config import ExperimentConfig
from trainer.data.input_fn import make_input_fn
from trainer.data.records import open_dataset
from trainer.errors import UserError

NUM_TRAIN = 21
BATCH = 4


@pytest.fixture
def config():
    return ExperimentConfig().replace(image_size=8, global_batch_size=BATCH, shuffle_buffer_size=7, seed=5)


def host_context(num_hosts, host):
    return tf.distribute.InputContext(num_input_pipelines=num_hosts, input_pipeline_id=host)


def take(dataset, num_batches):
    return [tf.nest.map_structure(np.asarray, batch) for batch in itertools.islice(dataset, num_batches)]


def training_batches(path, config, num_batches, *, start_step=0, context=None, batch_size=BATCH):
    input_fn = make_input_fn(open_dataset(path), "train", "train", config)
    return take(input_fn({"batch_size": batch_size}, input_context=context, start_step=start_step), num_batches)


def assert_same_batches(left, right):
    assert len(left) == len(right)
    for (left_features, left_labels), (right_features, right_labels) in zip(left, right, strict=True):
        np.testing.assert_array_equal(left_features["image"], right_features["image"])
        np.testing.assert_array_equal(left_labels, right_labels)


def fingerprints(batches):
    return [image.tobytes() for features, _ in batches for image in features["image"]]


@pytest.mark.parametrize("image_format", [pytest.param("PNG", marks=pytest.mark.slow), "JPEG"])
def test_training_batches_have_the_shapes_of_the_contract(make_dataset, config, image_format):
    path = make_dataset({"train": NUM_TRAIN}, image_format=image_format)
    dataset = make_input_fn(open_dataset(path), "train", "train", config)({"batch_size": BATCH})
    features, labels = dataset.element_spec
    assert features == {"image": tf.TensorSpec([BATCH, 8, 8, 3], tf.uint8)}
    assert labels == tf.TensorSpec([BATCH], tf.int32)
    take(dataset, 1)


@pytest.mark.parametrize(
    "start_step", [pytest.param(1, marks=pytest.mark.slow), 5, 6, pytest.param(60, marks=pytest.mark.slow)]
)
@pytest.mark.parametrize("cache_records", [pytest.param(False, marks=pytest.mark.slow), True])
def test_a_resumed_stream_goes_on_where_the_first_would(make_dataset, config, start_step, cache_records):
    path = make_dataset({"train": NUM_TRAIN})
    config = config.replace(cache_records=cache_records)
    whole = training_batches(path, config, start_step + 7)
    assert_same_batches(training_batches(path, config, 7, start_step=start_step), whole[start_step:])


def test_every_epoch_shows_every_example_once_in_an_order_of_its_own(make_dataset, config):
    config = config.replace(crop="center", horizontal_flip=False, global_batch_size=NUM_TRAIN)
    path = make_dataset({"train": NUM_TRAIN})
    first, second = training_batches(path, config, 2, batch_size=NUM_TRAIN)
    assert len(set(fingerprints([first]))) == NUM_TRAIN
    assert sorted(fingerprints([first])) == sorted(fingerprints([second]))
    assert fingerprints([first]) != fingerprints([second])


@pytest.mark.slow
def test_order_and_crops_depend_on_the_seed_alone(make_dataset, config):
    path = make_dataset({"train": NUM_TRAIN})
    tf.random.set_seed(1)
    batches = training_batches(path, config, 6)
    tf.random.set_seed(2)
    assert_same_batches(training_batches(path, config, 6), batches)
    assert fingerprints(training_batches(path, config.replace(seed=6), 6)) != fingerprints(batches)


def test_an_example_looks_different_in_each_epoch(make_dataset, config):
    path = make_dataset({"train": 1}, num_shards=1)
    assert len(set(fingerprints(training_batches(path, config, 5)))) == 5 * BATCH


@pytest.mark.parametrize("num_hosts", [2, pytest.param(3, marks=pytest.mark.slow)])
def test_hosts_share_an_epoch_without_overlap(make_dataset, config, num_hosts):
    """Two shards: over two hosts each has its own, over three each reads both."""
    num_examples = num_hosts * 6
    config = config.replace(crop="center", horizontal_flip=False, global_batch_size=num_examples)
    path = make_dataset({"train": num_examples})
    batches = [
        training_batches(path, config, 1, context=host_context(num_hosts, host), batch_size=6)[0]
        for host in range(num_hosts)
    ]
    assert len(set(fingerprints(batches))) == num_examples


@pytest.mark.slow
def test_hosts_resume_too(make_dataset, config):
    path = make_dataset({"train": NUM_TRAIN})
    context = host_context(2, 1)
    whole = training_batches(path, config, 9, context=context, batch_size=2)
    assert_same_batches(training_batches(path, config, 3, start_step=6, context=context, batch_size=2), whole[6:])


def test_a_host_without_examples_is_an_error(make_dataset, config):
    path = make_dataset({"train": 1}, num_shards=1)
    with pytest.raises(UserError, match="split 'train' has no example for host 1 of 2"):
        training_batches(path, config, 1, context=host_context(2, 1))


@pytest.mark.parametrize(
    ("num_examples", "num_batches"),
    [pytest.param(8, 2, marks=pytest.mark.slow), (9, 3), pytest.param(3, 1, marks=pytest.mark.slow)],
)
def test_evaluation_pads_the_last_batch_with_weight_zero(make_dataset, config, num_examples, num_batches):
    path = make_dataset({"test": num_examples}, num_shards=1)
    batches = take(make_input_fn(open_dataset(path), "test", "eval", config)({"batch_size": BATCH}), 100)
    weights = np.concatenate([features["weight"] for features, _ in batches])
    labels = np.concatenate([labels for _, labels in batches])
    assert len(batches) == num_batches
    assert weights.tolist() == [1.0] * num_examples + [0.0] * (num_batches * BATCH - num_examples)
    assert labels[:num_examples].tolist() == [number % 3 for number in range(num_examples)]


@pytest.mark.slow
@pytest.mark.parametrize("num_hosts", [2, 3])
def test_evaluating_hosts_run_equally_many_batches_and_count_every_example_once(make_dataset, config, num_hosts):
    path = make_dataset({"test": 11})
    input_fn = make_input_fn(open_dataset(path), "test", "eval", config)
    hosts = [take(input_fn({"batch_size": 2}, host_context(num_hosts, host)), 100) for host in range(num_hosts)]
    assert len({len(batches) for batches in hosts}) == 1
    assert sum(features["weight"].sum() for batches in hosts for features, _ in batches) == 11


def test_prediction_yields_every_image_in_order_and_no_padding(make_dataset, config):
    path = make_dataset({"test": 6}, num_shards=1)
    dataset = open_dataset(path)
    predicted = take(make_input_fn(dataset, "test", "infer", config)({"batch_size": BATCH}), 100)
    evaluated = take(make_input_fn(dataset, "test", "eval", config)({"batch_size": 6}), 1)
    assert [set(features) for features in predicted] == [{"image"}, {"image"}]
    images = np.concatenate([features["image"] for features in predicted])
    np.testing.assert_array_equal(images, evaluated[0][0]["image"])


@pytest.mark.parametrize("mode", ["train", "eval"])
def test_labels_come_out_zero_based(make_dataset, config, mode):
    path = make_dataset({"train": NUM_TRAIN}, label_offset=1)
    batches = take(make_input_fn(open_dataset(path), "train", mode, config)({"batch_size": BATCH}), 5)
    assert set(np.concatenate([labels for _, labels in batches])) == {0, 1, 2}


def test_an_unknown_split_names_the_known_ones(make_dataset, config):
    path = make_dataset({"train": 2, "test": 2})
    with pytest.raises(UserError, match="no split called 'validation'; splits in this dataset: test, train"):
        make_input_fn(open_dataset(path), "validation", "eval", config)


def test_an_empty_split_is_an_error(make_dataset, config):
    path = make_dataset({"train": 2, "test": 0})
    with pytest.raises(UserError, match="split 'test' is empty"):
        make_input_fn(open_dataset(path), "test", "eval", config)
