"""Input functions of arrays in memory: `numpy_input_fn` and `pandas_input_fn`."""

import collections

import numpy as np
import pytest
import tensorflow as tf

from trainer.estimator import Estimator, EstimatorSpec, input_source
from trainer.estimator.legacy import facade
from trainer.estimator.legacy.array_inputs import numpy_input_fn, pandas_input_fn


def batches(input_fn, seed=None):
    return [tf.nest.map_structure(np.array, batch) for batch in input_source.call(input_fn, {}, seed).read()]


def test_rows_come_in_order_and_batches_across_the_ends_of_epochs():
    read = batches(numpy_input_fn(np.arange(5), batch_size=4, num_epochs=3, shuffle=False, num_threads=3))
    assert [batch.tolist() for batch in read] == [[0, 1, 2, 3], [4, 0, 1, 2], [3, 4, 0, 1], [2, 3, 4]]


@pytest.mark.parametrize("labels", [np.arange(3), {"a": np.arange(3), "b": np.array(["x", "yz", ""])}])
def test_features_and_labels_are_arrays_or_dicts(labels):
    features = {"image": np.arange(12, dtype=np.float32).reshape(3, 2, 2), "name": np.array([b"r", b"s", b"t"], object)}
    (batch,) = batches(numpy_input_fn(features, labels, shuffle=False))
    tf.nest.assert_same_structure(batch, (features, labels))
    for read, given in zip(tf.nest.flatten(batch), tf.nest.flatten((features, labels)), strict=True):
        assert [tf.compat.as_str_any(value) for value in read.flat] == [
            tf.compat.as_str_any(value) for value in given.flat
        ]
    assert batch[0]["image"].dtype == np.float32


def test_shuffling_keeps_every_row_once_an_epoch_and_with_its_label():
    rows = np.arange(50)
    input_fn = numpy_input_fn({"row": rows}, -rows, batch_size=50, num_epochs=2, shuffle=True)
    read = batches(input_fn, seed=1)
    orders = [features["row"].tolist() for features, _ in read]
    assert [sorted(order) for order in orders] == [rows.tolist()] * 2
    assert len({tuple(order) for order in [*orders, rows.tolist()]}) == 3
    assert all((labels == -features["row"]).all() for features, labels in read)


def test_no_more_rows_than_the_capacity_are_shuffled_at_a_time():
    (read,) = batches(numpy_input_fn(np.arange(100), shuffle=True, queue_capacity=10), seed=1)
    assert read.tolist() != sorted(read)
    assert all(row < position + 10 for position, row in enumerate(read))


@pytest.mark.parametrize(("num_epochs", "rows"), [(None, 4), (2, None)])
def test_in_a_graph_tensors_come_of_which_the_shape_is_known(num_epochs, rows):
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        input_fn = numpy_input_fn(np.zeros([6, 2]), np.arange(6), 4, num_epochs, shuffle=False)
        features, labels = input_fn()
        assert (features.shape.as_list(), labels.shape.as_list()) == ([rows, 2], [rows])
        assert [session.run(labels).tolist() for _ in range(3)] == [[0, 1, 2, 3], [4, 5, 0, 1], [2, 3, 4, 5]]
        if num_epochs is None:
            assert session.run(labels).tolist() == [0, 1, 2, 3]
        else:
            with pytest.raises(tf.errors.OutOfRangeError):
                session.run(labels)


def test_executing_eagerly_it_is_a_dataset():
    (batch,) = numpy_input_fn(np.arange(3), shuffle=False)()
    assert batch.numpy().tolist() == [0, 1, 2]


def test_arrays_become_no_part_of_the_graph():
    with tf.Graph().as_default() as graph:
        numpy_input_fn(np.zeros([1000, 1000]), shuffle=True)()
    assert graph.as_graph_def().ByteSize() < 20_000


@pytest.mark.parametrize(
    ("arguments", "kind", "said"),
    [
        ({"x": np.arange(3)}, ValueError, "shuffle must be given"),
        ({"x": [1, 2], "shuffle": True}, TypeError, "x must be an array or a dict of arrays, got list"),
        ({"x": np.arange(3), "y": np.arange(2), "shuffle": True}, ValueError, "same number of rows"),
        ({"x": {"a": np.arange(3)}, "y": {"a": np.arange(3)}, "shuffle": True}, ValueError, r"in common: \['a'\]"),
        ({"x": {}, "shuffle": True}, ValueError, "must not be empty"),
        ({"x": np.zeros([0, 2]), "shuffle": True}, ValueError, "must not be empty"),
        ({"x": np.arange(3), "y": {}, "shuffle": True}, ValueError, "must not be empty"),
    ],
)
def test_what_cannot_be_read_is_refused(arguments, kind, said):
    with pytest.raises(kind, match=said):
        numpy_input_fn(**arguments)


@pytest.mark.parametrize("version", [1, 2])
def test_programs_find_them(version):
    facades = facade.Facades(version)
    assert facades.module("tensorflow").estimator.inputs.numpy_input_fn is numpy_input_fn
    assert facades.module("tensorflow.compat.v1").estimator.inputs.pandas_input_fn is pandas_input_fn
    assert facades.module("tensorflow.python.estimator.inputs.numpy_io").numpy_input_fn is numpy_input_fn


def test_an_estimator_trains_and_predicts_from_arrays(tmp_path):
    def model_fn(features, labels, mode):
        weight = tf.compat.v1.get_variable("weight", [], initializer=tf.compat.v1.zeros_initializer())
        predictions = features["x"] * weight
        if labels is None:
            return EstimatorSpec(mode, predictions={"y": predictions})
        loss = tf.reduce_mean(tf.square(predictions - labels))
        step = tf.compat.v1.train.get_global_step()
        return EstimatorSpec(
            mode, loss=loss, train_op=tf.compat.v1.train.GradientDescentOptimizer(0.3).minimize(loss, step)
        )

    x = np.linspace(0, 1, 10, dtype=np.float32)
    estimator = Estimator(model_fn, str(tmp_path))
    estimator.train(numpy_input_fn({"x": x}, 3 * x, batch_size=4, num_epochs=None, shuffle=True), steps=60)
    predicted = [row["y"] for row in estimator.predict(numpy_input_fn({"x": x}, batch_size=4, shuffle=False))]
    np.testing.assert_allclose(predicted, 3 * x, atol=0.1)


def test_columns_of_a_data_frame_are_features():
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"age": [1.5, 2.5, 3.5], "name": ["a", "b", "c"]}, index=[7, 8, 9])
    labels = pandas.Series([0, 1, 0], index=frame.index)
    ((features, read_labels),) = batches(pandas_input_fn(frame, labels, shuffle=False, queue_capacity=None))
    assert {name: column.tolist() for name, column in features.items()} == {
        "age": [1.5, 2.5, 3.5],
        "name": [b"a", b"b", b"c"],
    }
    assert read_labels.tolist() == [0, 1, 0]
    ((_, named),) = batches(pandas_input_fn(frame[["name"]], frame[["age"]], shuffle=True, queue_capacity=None))
    assert collections.Counter(named["age"]) == collections.Counter(frame["age"])
    (alone,) = batches(pandas_input_fn(frame, shuffle=False))
    assert alone.keys() == features.keys()
    with pytest.raises(ValueError, match="same index"):
        pandas_input_fn(frame, labels.reset_index(drop=True), shuffle=False)
    with pytest.raises(ValueError, match="'age' already"):
        pandas_input_fn(frame, labels, shuffle=False, target_column="age")
