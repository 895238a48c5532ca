"""Programs whose text becomes numbers by lookup tables inside their functions."""

import os

import keras
import numpy as np
import pytest
import tensorflow as tf

from trainer.errors import UserError
from trainer.estimator import EstimatorSpec, ModeKeys, TPUEstimatorSpec
from trainer.estimator.export_outputs import SupervisedInputReceiver, TensorServingInputReceiver

from . import programs

v1 = tf.compat.v1
WORDS = ["c", "a", "elsewhere", "b"]
IDS = [2, 0, 3, 1]


@pytest.fixture(name="make_table", params=["constants", "file"])
def fixture_make_table(request, tmp_path):
    def of_constants():
        words = tf.constant(["a", "b", "c"])
        return tf.lookup.KeyValueTensorInitializer(words, tf.range(3, dtype=tf.int64))

    def of_file():
        (tmp_path / "words.txt").write_text("a\nb\nc\n")
        index = tf.lookup.TextFileIndex
        return tf.lookup.TextFileInitializer(
            str(tmp_path / "words.txt"), tf.string, index.WHOLE_LINE, tf.int64, index.LINE_NUMBER
        )

    make = {"constants": of_constants, "file": of_file}[request.param]
    return lambda: tf.lookup.StaticVocabularyTable(make(), num_oov_buckets=1)


def weighing_model_fn(lookup):
    def model_fn(features, labels, mode, params):
        weights = v1.get_variable("weights", [4])
        values = tf.gather(weights, lookup(features))
        if mode == ModeKeys.PREDICT:
            return EstimatorSpec(mode, predictions={"value": values})
        loss = tf.reduce_mean((values - labels) ** 2)
        return EstimatorSpec(mode, loss=loss, train_op=programs.minimize(loss))

    return model_fn


def of_words(params):
    return tf.data.Dataset.from_tensors((WORDS, tf.constant([1.0, 2.0, 3.0, 4.0]))).repeat()


def receiver_of_words(lookup):
    def serving_input_receiver_fn():
        words = v1.placeholder(tf.string, [None], name="words")
        return TensorServingInputReceiver(lookup(words), {"words": words})

    return serving_input_receiver_fn


def check(export_dir, weights):
    """Checks an export by both versions of TensorFlow, elsewhere than it was made."""
    moved = f"{export_dir}_elsewhere"
    os.rename(export_dir, moved)
    words = tf.constant(WORDS)
    for _ in range(2):
        found = tf.saved_model.load(moved, tags=["serve"]).signatures["serving_default"](words=words)["value"]
        np.testing.assert_array_equal(found, weights[IDS])
    with tf.Graph().as_default(), v1.Session() as session:
        signature = v1.saved_model.load(session, ["serve"], moved).signature_def["serving_default"]
        found = session.run(signature.outputs["value"].name, {"words:0": WORDS})
    np.testing.assert_array_equal(found, weights[IDS])


def test_a_table_of_the_model_fn_is_filled_and_exported(make_table, tmp_path):
    def model_fn(features, labels, mode, params):
        return weighing_model_fn(make_table().lookup)(features, labels, mode, params)

    estimator = programs.make_estimator(tmp_path / "model", model_fn)
    estimator.train(of_words, max_steps=3)
    weights = estimator.get_variable_value("weights")
    predicted = next(estimator.predict(of_words, yield_single_examples=False))
    np.testing.assert_array_equal(predicted["value"], weights[IDS])

    def supervised_receiver_fn():
        words, labels = v1.placeholder(tf.string, [None]), v1.placeholder(tf.float32, [None])
        return SupervisedInputReceiver(words, labels, {"words": words, "labels": labels})

    receivers = {ModeKeys.PREDICT: receiver_of_words(tf.identity), ModeKeys.EVAL: supervised_receiver_fn}
    check(estimator.experimental_export_all_saved_models(str(tmp_path / "export"), receivers), weights)


def test_a_table_of_the_receiver_is_exported(make_table, tmp_path):
    estimator = programs.make_estimator(tmp_path / "model", weighing_model_fn(tf.identity))
    estimator.train(lambda params: of_words(params).map(lambda _, labels: (IDS, labels)), max_steps=1)
    export_dir = estimator.export_saved_model(
        str(tmp_path / "export"), receiver_of_words(lambda words: make_table().lookup(words))
    )
    (tmp_path / "words.txt").unlink(missing_ok=True)
    check(export_dir, estimator.get_variable_value("weights"))


def trained_on_ids(directory):
    estimator = programs.make_estimator(directory, weighing_model_fn(tf.identity))
    estimator.train(lambda params: of_words(params).map(lambda _, labels: (IDS, labels)), max_steps=1)
    return estimator


def test_a_table_made_elsewhere_is_exported_with_what_it_holds(make_table, tmp_path):
    estimator = trained_on_ids(tmp_path / "model")
    export_dir = estimator.export_saved_model(str(tmp_path / "export"), receiver_of_words(make_table().lookup))
    (tmp_path / "words.txt").unlink(missing_ok=True)
    check(export_dir, estimator.get_variable_value("weights"))


def test_a_table_of_a_feature_column_is_exported(tmp_path):
    column = tf.feature_column.categorical_column_with_vocabulary_list("words", ["a", "b", "c"], num_oov_buckets=1)

    def ids_of(words):
        return tf.argmax(v1.feature_column.input_layer({"words": words}, tf.feature_column.indicator_column(column)), 1)

    estimator = trained_on_ids(tmp_path / "model")
    export_dir = estimator.export_saved_model(str(tmp_path / "export"), receiver_of_words(ids_of))
    check(export_dir, estimator.get_variable_value("weights"))


def of_rows():
    table = tf.lookup.experimental.MutableHashTable(tf.string, tf.int64, default_value=[3, 3])
    table.insert(tf.constant(["a", "b"]), tf.constant([[0, 0], [1, 1]], tf.int64))
    return lambda words: table.lookup(words)[:, 0]


def within_a_loop():
    table = tf.lookup.StaticHashTable(tf.lookup.KeyValueTensorInitializer(["a"], tf.constant([0], tf.int64)), 3)
    return lambda words: tf.map_fn(table.lookup, words, fn_output_signature=tf.int64)


def of_a_queue():
    queue = tf.queue.FIFOQueue(1, tf.int32)
    return lambda words: tf.strings.length(words) * queue.size()


@pytest.mark.parametrize("make_lookup", [of_rows, within_a_loop, of_a_queue])
def test_other_resources_and_tables_are_not_exported(tmp_path, make_lookup):
    estimator = trained_on_ids(tmp_path / "model")
    message = "neither a variable, nor a constant, nor a lookup table of single values that is used outside loops"
    with pytest.raises(ValueError, match=message):
        estimator.export_saved_model(str(tmp_path / "export"), receiver_of_words(make_lookup()))
    assert not (tmp_path / "export").exists()


def test_an_empty_table_is_not_exported_as_one_that_cannot_be_loaded(tmp_path):
    estimator = trained_on_ids(tmp_path / "model")
    table = tf.lookup.experimental.MutableHashTable(tf.string, tf.int64, default_value=3)
    with pytest.raises(ValueError, match="a lookup table that holds nothing cannot be exported"):
        estimator.export_saved_model(str(tmp_path / "export"), receiver_of_words(table.lookup))


def test_an_accelerator_has_no_tables(tmp_path):
    def model_fn(features, labels, mode, params):
        table = tf.lookup.StaticHashTable(tf.lookup.KeyValueTensorInitializer([2], [1.0], tf.int32), 0.0)
        predictions = {"value": table.lookup(tf.cast(features[:, 0], tf.int32))}
        return TPUEstimatorSpec(mode, predictions=predictions)

    estimator = programs.make_estimator(tmp_path / "model", use_tpu=True, config={"master": "mock:2"})
    estimator.train(programs.input_fn, max_steps=1)
    other = programs.make_estimator(tmp_path / "model", model_fn, use_tpu=True, config={"master": "mock:2"})
    message = r"queues and iterators \(.*\) are not on the device; read or look the values up in input_fn"
    with pytest.raises(UserError, match=message):
        next(other.predict(programs.input_fn))


def test_a_table_of_a_keras_layer_is_exported(tmp_path):
    def ids_of(words):
        # The layer's ids start with the one for words that it does not know.
        ids = keras.layers.StringLookup(vocabulary=["a", "b", "c"])(words)
        return (ids + 3) % 4

    estimator = trained_on_ids(tmp_path / "model")
    export_dir = estimator.export_saved_model(str(tmp_path / "export"), receiver_of_words(ids_of))
    check(export_dir, estimator.get_variable_value("weights"))
