"""Which signatures an export has, and by which method and names each is called."""

import numpy as np
import pytest
import tensorflow as tf

from trainer.estimator import ModeKeys, TPUEstimatorSpec, export_outputs
from trainer.estimator.export_outputs import ServingInputReceiver, SupervisedInputReceiver, TensorServingInputReceiver

from . import programs

v1 = tf.compat.v1
BATCH = programs.FEATURES[:3]


def receiver_of_features():
    features = v1.placeholder(tf.float32, [None, 3], name="features")
    return TensorServingInputReceiver(features, {"x": features})


def receiver_of_examples():
    spec = {"x": tf.io.FixedLenFeature([3], tf.float32)}
    receiver = export_outputs.build_parsing_serving_input_receiver_fn(spec)()
    features = receiver.features["x"]
    return TensorServingInputReceiver(features, receiver.receiver_tensors, {"raw": features})


def serialised(row):
    feature = tf.train.Feature(float_list=tf.train.FloatList(value=row))
    return tf.train.Example(features=tf.train.Features(feature={"x": feature})).SerializeToString()


def with_outputs(export_outputs_of):
    def model_fn(features, labels, mode, params):
        values = programs.predicted(features)
        if mode == ModeKeys.PREDICT:
            return TPUEstimatorSpec(mode, predictions={"v": values}, export_outputs=export_outputs_of(values))
        loss = tf.reduce_mean((values - labels) ** 2)
        return TPUEstimatorSpec(mode, loss=loss, train_op=programs.minimize(loss))

    return model_fn


def test_outputs_of_each_kind(tmp_path):
    estimator = programs.make_estimator(
        tmp_path / "model",
        with_outputs(
            lambda values: {
                "serving_default": export_outputs.RegressionOutput(values),
                "classes": export_outputs.ClassificationOutput(
                    scores=values[:, tf.newaxis], classes=tf.strings.as_string(values)[:, tf.newaxis]
                ),
                "any": export_outputs.PredictOutput(values),
            }
        ),
    )
    estimator.train(programs.input_fn, steps=1)
    signatures = tf.saved_model.load(
        estimator.export_saved_model(str(tmp_path / "export"), receiver_of_features)
    ).signatures
    outputs = {name: set(function.structured_outputs) for name, function in signatures.items()}
    assert outputs == {"serving_default": {"outputs"}, "classes": {"scores", "classes"}, "any": {"output"}}


@pytest.mark.parametrize(
    ("make", "features"), [(ServingInputReceiver, {"feature": 7}), (TensorServingInputReceiver, 7)]
)
def test_a_lone_tensor_reaches_the_model_fn_under_a_name_unless_it_is_asked_for_as_it_is(make, features):
    assert make(7, tf.constant(1)).features == features


@pytest.mark.parametrize(
    ("outputs", "error", "message"),
    [
        ({"a": 7}, TypeError, "must be ExportOutput objects"),
        (
            {name: export_outputs.PredictOutput(tf.constant([1.0])) for name in "ab"},
            ValueError,
            "none of them is specified as the default",
        ),
    ],
)
def test_wrong_outputs_are_refused(tmp_path, outputs, error, message):
    estimator = programs.make_estimator(tmp_path / "model", with_outputs(lambda values: outputs))
    estimator.train(programs.input_fn, steps=1)
    with pytest.raises(error, match=message):
        estimator.export_saved_model(str(tmp_path / "export"), receiver_of_features)
    assert not (tmp_path / "export").exists()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ServingInputReceiver(None, {}), "features must be defined"),
        (lambda: ServingInputReceiver({}, None), "receiver_tensors must be defined"),
        (lambda: ServingInputReceiver({}, {"a": 7}), "receiver_tensor a must be a Tensor"),
        (lambda: ServingInputReceiver({}, {}, 7), "alternatives must be a dict"),
        (lambda: SupervisedInputReceiver({}, None, {}), "labels must be defined"),
        (export_outputs.ClassificationOutput, "empty arguments"),
        (lambda: export_outputs.ClassificationOutput(scores=tf.constant([1])), "scores must be a float32"),
        (lambda: export_outputs.ClassificationOutput(classes=tf.constant([1])), "classes must be a string"),
        (lambda: export_outputs.RegressionOutput(tf.constant([1])), "must be a float32"),
        (
            lambda: export_outputs.build_raw_supervised_input_receiver_fn({"label": BATCH}, BATCH),
            "both have label",
        ),
    ],
)
def test_receivers_and_outputs_check_themselves(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def signature_definitions(export_dir):
    with tf.Graph().as_default(), v1.Session() as session:
        return v1.saved_model.load(session, ["serve"], export_dir).signature_def


@pytest.mark.parametrize(
    ("receiver_fn", "classify", "expected"),
    [
        (receiver_of_examples, "tensorflow/serving/classify", {"inputs": "input_example_tensor:0"}),
        (receiver_of_features, "tensorflow/serving/predict", {"x": "features:0"}),
    ],
)
def test_classification_and_regression_take_examples_by_the_name_that_their_server_gives(
    tmp_path, receiver_fn, classify, expected
):
    estimator = programs.make_estimator(
        tmp_path / "model",
        with_outputs(
            lambda values: {
                "serving_default": export_outputs.RegressionOutput(values),
                "classes": export_outputs.ClassificationOutput(scores=values[:, tf.newaxis]),
                "any": export_outputs.PredictOutput(values),
            }
        ),
    )
    estimator.train(programs.input_fn, steps=1)
    export_dir = estimator.export_saved_model(str(tmp_path / "export"), receiver_fn)
    found = signature_definitions(export_dir)
    assert {name: tensor.name for name, tensor in found["classes"].inputs.items()} == expected
    methods = {name: one.method_name for name, one in found.items()}
    regress = classify.replace("classify", "regress")
    assert {"serving_default": regress, "classes": classify, "any": "tensorflow/serving/predict"}.items() <= (
        methods.items()
    )
    if receiver_fn is receiver_of_examples:
        assert list(found["any"].inputs) == ["examples"]
        assert list(found["raw:classes"].inputs) == ["input"]
        signatures = tf.saved_model.load(export_dir).signatures
        served = signatures["serving_default"](inputs=tf.constant([serialised(row) for row in BATCH]))["outputs"]
        np.testing.assert_allclose(served, BATCH @ estimator.get_variable_value("weights"), rtol=1e-5)


def test_a_raw_receiver_keeps_the_names_of_the_placeholders_that_it_is_made_of():
    with tf.Graph().as_default():
        features = {"x": v1.placeholder(tf.float32, [None, 3], name="pixels"), "y": tf.TensorSpec([None], tf.int32)}
        make = export_outputs.build_raw_serving_input_receiver_fn(features)
    with tf.Graph().as_default():
        assert {name: tensor.name for name, tensor in make().receiver_tensors.items()} == {"x": "pixels:0", "y": "y:0"}
