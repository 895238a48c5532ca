import contextlib

import numpy as np
import pytest
import tensorflow as tf

from trainer.estimator import input_source

v1 = tf.compat.v1
ROWS = np.arange(12, dtype=np.float32).reshape(6, 2)


def dataset():
    return tf.data.Dataset.from_tensor_slices((ROWS, np.arange(6))).shuffle(6).batch(2)


def python_generator():
    return tf.data.Dataset.from_generator(lambda: iter(range(4)), output_signature=tf.TensorSpec([], tf.int32)).batch(2)


def table(table_class=tf.lookup.StaticHashTable):
    words = table_class(tf.lookup.KeyValueTensorInitializer(["a", "b"], [1, 2]), -1)
    return tf.data.Dataset.from_tensor_slices(["a", "b", "c"]).map(words.lookup).batch(3)


def one_shot_iterator():
    return v1.data.make_one_shot_iterator(dataset()).get_next()


def initializable_iterator():
    iterator = v1.data.make_initializable_iterator(dataset())
    v1.add_to_collection(v1.GraphKeys.TABLE_INITIALIZERS, iterator.initializer)
    features, labels = iterator.get_next()
    return {"x": features}, labels


def needs_eager_execution():
    return tf.data.Dataset.range(tf.constant(3).numpy()).batch(2)


def values(stream, limit=10):
    read = zip(range(limit), stream.read(), strict=False)
    return [tf.nest.map_structure(lambda tensor: tensor.numpy().tolist(), batch) for _, batch in read]


def test_a_dataset_is_read_to_its_end():
    read = values(input_source.call(dataset, {}, seed=1))
    assert sorted(label for _, labels in read for label in labels) == list(range(6))
    assert all(features[0][0] == labels[0] * 2 for features, labels in read)


def test_the_seed_decides_the_order():
    first, again, other = (values(input_source.call(dataset, {}, seed=seed)) for seed in (1, 1, 2))
    assert first == again != other


def test_the_order_is_that_of_an_estimator_of_tensorflow_1():
    with tf.Graph().as_default(), v1.Session() as session:
        v1.set_random_seed(5)
        batch = v1.data.make_one_shot_iterator(dataset()).get_next()
        expected = [session.run(batch)[1].tolist() for _ in range(3)]
    assert [labels for _, labels in values(input_source.call(dataset, {}, seed=5))] == expected


@pytest.mark.parametrize(
    ("input_fn", "expected"),
    [
        (python_generator, [[0, 1], [2, 3]]),
        (table, [[1, 2, -1]]),
        (lambda: table(v1.lookup.StaticHashTable), [[1, 2, -1]]),
        (needs_eager_execution, [[0, 1], [2]]),
    ],
)
def test_datasets_of_every_kind(input_fn, expected):
    stream = input_source.call(input_fn, {})
    assert values(stream) == expected
    assert values(stream) == expected


@pytest.mark.parametrize("input_fn", [one_shot_iterator, initializable_iterator])
def test_the_tensors_of_an_iterator_are_read_anew_for_each_batch(input_fn):
    read = values(input_source.call(input_fn, {}, seed=1))
    assert sorted(label for _, labels in read for label in labels) == list(range(6))


def test_tensors_that_never_end_are_read_for_ever():
    stream = input_source.call(lambda: {"x": tf.constant(ROWS)}, {})
    assert stream.element_spec == {"x": tf.TensorSpec([6, 2], tf.float32)}
    assert len(values(stream, limit=4)) == 4


def test_queues_are_started_where_there_are_any():
    def queue():
        (row,) = v1.train.slice_input_producer([tf.constant(ROWS)], num_epochs=None, shuffle=False)
        return {"x": v1.train.batch([row], 2)}

    read = values(input_source.call(queue, {}), limit=4)
    assert [batch["x"][0][0] for batch in read] == [0, 4, 8, 0]


def test_tensors_that_count_their_epochs_end():
    stream = input_source.call(lambda: {"x": v1.train.limit_epochs(tf.constant(ROWS), num_epochs=3)}, {})
    assert len(values(stream)) == 3


def test_queues_that_are_not_there_are_not_started(monkeypatch):
    def refuse(*args):
        raise AssertionError("TensorFlow warns of this call")

    monkeypatch.setattr(v1.train, "start_queue_runners", refuse)
    assert len(values(input_source.call(one_shot_iterator, {}))) == 3


def test_batches_can_be_skipped():
    stream = input_source.call(dataset, {}, seed=1)
    assert values(stream.skip(2)) == values(stream)[2:]


def test_sparse_features_keep_their_type():
    stream = input_source.call(lambda: {"s": tf.sparse.from_dense([[0, 1]])}, {})
    (batch,) = (batch for _, batch in zip(range(1), stream.read(), strict=False))
    assert isinstance(batch["s"], tf.SparseTensor)


def test_labels_that_are_none_are_no_labels():
    assert input_source.call(lambda: (tf.constant([1]), None), {}).element_spec == tf.TensorSpec([1], tf.int32)


def test_three_values_are_refused():
    with pytest.raises(ValueError, match=r"\(features, labels\) as a len 2 tuple, got 3 elements"):
        input_source.call(lambda: (tf.constant(1),) * 3, {})


@pytest.mark.parametrize("num_parts", [1, 3])
def test_a_dataset_of_neither_features_nor_pairs_is_refused(num_parts):
    def input_fn():
        return tf.data.Dataset.from_tensors((tf.constant(1),) * num_parts)

    with pytest.raises(ValueError, match=rf"as a len 2 tuple, got {num_parts} elements; name several features"):
        input_source.call(input_fn, {})


def test_nothing_is_refused():
    with pytest.raises(ValueError, match="input_fn returned None; return a"):
        input_source.call(lambda: None, {})


def test_elements_in_place_of_their_dataset_are_refused():
    def input_fn():
        return next(iter(tf.data.Dataset.range(3)))

    with pytest.raises(TypeError, match="return the Dataset itself, not its elements"):
        input_source.call(input_fn, {})


def test_only_accepted_arguments_are_passed():
    stream = input_source.call(lambda params: tf.data.Dataset.range(params["n"]), {"params": {"n": 2}, "mode": "train"})
    assert values(stream) == [0, 1]


@pytest.mark.parametrize("graph", [None, tf.Graph()], ids=["eagerly", "in another graph"])
def test_a_dataset_may_be_made_before_the_input_fn_is_called(graph):
    with graph.as_default() if graph else contextlib.nullcontext():
        dataset = tf.data.Dataset.from_tensor_slices(np.arange(4)).batch(2)
    stream = input_source.call(lambda: dataset, {})
    assert [batch.numpy().tolist() for batch in stream.read()] == [[0, 1], [2, 3]]
