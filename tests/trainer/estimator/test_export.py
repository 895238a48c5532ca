import pathlib

import keras
import numpy as np
import pytest
import tensorflow as tf
import tf_keras

from trainer.estimator import (
    BatchConfig,
    EstimatorSpec,
    ExportSavedModelApiVersion,
    ModeKeys,
    TPUEstimatorSpec,
    call_computation,
    export_estimator_savedmodel,
    export_outputs,
)
from trainer.estimator.export_outputs import TensorServingInputReceiver

from . import programs

v1 = tf.compat.v1
BATCH = programs.FEATURES[:3]


def receiver_of_features():
    features = v1.placeholder(tf.float32, [None, 3], name="features")
    return TensorServingInputReceiver(features, {"x": features})


@pytest.fixture(name="trained")
def fixture_trained(tmp_path):
    estimator = programs.make_estimator(tmp_path / "model")
    estimator.train(programs.input_fn, max_steps=5)
    return estimator


def expected_values(estimator):
    return BATCH @ estimator.get_variable_value("weights")


def test_a_saved_model_predicts_what_the_estimator_does(trained, tmp_path):
    export_dir = trained.export_saved_model(tmp_path / "export", receiver_of_features)
    assert export_dir.removeprefix(str(tmp_path / "export") + "/").isdigit()
    serve = tf.saved_model.load(export_dir).signatures["serving_default"]
    found = serve(x=tf.constant(BATCH))
    np.testing.assert_allclose(found["value"], expected_values(trained), rtol=1e-5)
    np.testing.assert_array_equal(found["features"], BATCH)
    predicted = [one["value"] for one in trained.predict(programs.input_fn)]
    np.testing.assert_allclose(found["value"], predicted[:3], rtol=1e-5)


def test_tensorflow_1_loads_it(trained, tmp_path):
    export_dir = trained.export_saved_model(str(tmp_path / "export").encode(), receiver_of_features)
    with tf.Graph().as_default(), v1.Session() as session:
        meta_graph = v1.saved_model.load(session, ["serve"], export_dir)
        signature = meta_graph.signature_def["serving_default"]
        found = session.run(signature.outputs["value"].name, {signature.inputs["x"].name: BATCH})
    np.testing.assert_allclose(found, expected_values(trained), rtol=1e-5)


def named_model_fn(features, labels, mode, params):
    weights = v1.get_variable("weights", [3])
    # A device that this machine does not have: exports run anywhere.
    with tf.device("/device:GPU:7" if mode == ModeKeys.PREDICT else None):
        scaled = tf.divide(features, 2.0, name="scaled")
    values = tf.identity(tf.linalg.matvec(scaled, weights) + tf.constant([0.5]), name="logits")
    if mode == ModeKeys.PREDICT:
        return EstimatorSpec(mode, predictions={"value": values})
    loss = tf.reduce_mean((values - labels) ** 2)
    return EstimatorSpec(mode, loss=loss, train_op=programs.minimize(loss))


@pytest.fixture(name="named")
def fixture_named(tmp_path):
    estimator = programs.make_estimator(tmp_path / "model", named_model_fn)
    estimator.train(programs.input_fn, max_steps=2)
    return estimator, estimator.export_saved_model(str(tmp_path / "export"), receiver_of_features)


def test_tensors_and_variables_keep_their_names(named):
    estimator, export_dir = named
    weights = estimator.get_variable_value("weights")
    with tf.Graph().as_default(), v1.Session() as session:
        signature = v1.saved_model.load(session, ["serve"], export_dir).signature_def["serving_default"]
        assert (signature.inputs["x"].name, signature.outputs["value"].name) == ("features:0", "logits:0")
        found = session.run("logits:0", {"scaled:0": BATCH})
    np.testing.assert_allclose(found, BATCH @ weights + 0.5, rtol=1e-5)
    np.testing.assert_array_equal(tf.train.load_variable(f"{export_dir}/variables/variables", "weights"), weights)


def test_tflite_converts_from_a_named_tensor_to_another(named):
    estimator, export_dir = named
    converter = v1.lite.TFLiteConverter.from_saved_model(
        export_dir, input_arrays=["scaled"], input_shapes={"scaled": [3, 3]}, output_arrays=["logits"]
    )
    interpreter = tf.lite.Interpreter(model_content=converter.convert())
    interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], BATCH)
    interpreter.invoke()
    found = interpreter.get_tensor(interpreter.get_output_details()[0]["index"])
    np.testing.assert_allclose(found, BATCH @ estimator.get_variable_value("weights") + 0.5, rtol=1e-5)


def test_a_value_that_was_closed_over_is_exported(trained, tmp_path):
    offset = tf.constant([[1.0, 2.0, 3.0]])

    def shifted():
        receiver = receiver_of_features()
        return TensorServingInputReceiver(receiver.features + offset, receiver.receiver_tensors)

    export_dir = trained.export_saved_model(str(tmp_path / "export"), shifted)
    found = tf.saved_model.load(export_dir).signatures["serving_default"](x=tf.constant(BATCH))
    np.testing.assert_allclose(found["features"], BATCH + offset)


def test_exports_are_numbered_by_time_and_nothing_else_is_left(trained, tmp_path):
    base = str(tmp_path / "export")
    exports = [
        trained.export_savedmodel(base, receiver_of_features, strip_default_attrs=True).decode("utf-8")
        for _ in range(2)
    ]
    assert sorted(str(path) for path in (tmp_path / "export").iterdir()) == sorted(exports)
    assert exports[0] < exports[1]


def test_any_checkpoint_can_be_exported_with_further_files(trained, tmp_path):
    (tmp_path / "words.txt").write_text("hello")
    export_dir = trained.export_saved_model(
        str(tmp_path / "export"),
        receiver_of_features,
        assets_extra={"deep/words.txt": str(tmp_path / "words.txt")},
        checkpoint_path=f"{trained.model_dir}/model.ckpt-0",
    )
    assert (
        not tf.saved_model.load(export_dir).signatures["serving_default"](x=tf.constant(BATCH))["value"].numpy().any()
    )
    assert (tmp_path / "export").joinpath(export_dir, "assets.extra/deep/words.txt").read_text() == "hello"


def test_an_export_may_be_written_as_text(trained, tmp_path):
    export_dir = trained.export_saved_model(str(tmp_path / "export"), receiver_of_features, as_text=True)
    assert 'tags: "serve"' in pathlib.Path(export_dir, "saved_model.pbtxt").read_text()
    found = tf.saved_model.load(export_dir).signatures["serving_default"](x=tf.constant(BATCH))["value"]
    np.testing.assert_allclose(found, expected_values(trained), rtol=1e-5)


def test_examples_may_be_parsed_and_features_fed_raw(trained, tmp_path):
    def parsing():
        spec = {"x": tf.io.FixedLenFeature([3], tf.float32)}
        receiver = export_outputs.build_parsing_serving_input_receiver_fn(spec)()
        return TensorServingInputReceiver(
            receiver.features["x"], receiver.receiver_tensors, {"raw": {"x": receiver.features["x"]}}
        )

    export_dir = trained.export_saved_model(str(tmp_path / "export"), parsing)
    feature = tf.train.Feature(float_list=tf.train.FloatList(value=BATCH[0]))
    example = tf.train.Example(features=tf.train.Features(feature={"x": feature})).SerializeToString()
    signatures = tf.saved_model.load(export_dir).signatures
    found = signatures["serving_default"](examples=tf.constant([example]))["value"]
    np.testing.assert_allclose(found, expected_values(trained)[:1], rtol=1e-5)
    raw = signatures["raw:serving_default"](x=tf.constant(BATCH))["value"]
    np.testing.assert_allclose(raw, expected_values(trained), rtol=1e-5)


def test_an_untrained_model_cannot_be_exported(tmp_path):
    with pytest.raises(ValueError, match=r"Couldn't find trained model at .*; call train"):
        programs.make_estimator(tmp_path).export_saved_model(str(tmp_path), receiver_of_features)


@pytest.fixture(name="all_modes")
def fixture_all_modes(trained, tmp_path):
    supervised = export_outputs.build_raw_supervised_input_receiver_fn(programs.FEATURES, programs.LABELS)
    receiver_fns = {ModeKeys.TRAIN: supervised, ModeKeys.EVAL: supervised, ModeKeys.PREDICT: receiver_of_features}
    return trained.experimental_export_all_saved_models(str(tmp_path / "all"), receiver_fns)


def test_each_mode_is_a_graph_with_its_tag(trained, all_modes):
    modes = {tag: tf.saved_model.load(all_modes, tags=[tag]).signatures for tag in ("serve", "eval", "train")}
    assert {tag: set(found) for tag, found in modes.items()} == {
        "serve": {"serving_default"},
        "eval": {"eval"},
        "train": {"train"},
    }
    batch = {"feature": tf.constant(programs.FEATURES), "label": tf.constant(programs.LABELS)}
    predictions = programs.FEATURES @ trained.get_variable_value("weights")
    errors = (predictions - programs.LABELS) ** 2
    np.testing.assert_allclose(modes["serve"]["serving_default"](tf.constant(programs.FEATURES))["value"], predictions)
    evaluated = modes["eval"]["eval"](**batch)
    assert evaluated["loss"].numpy() == pytest.approx(errors.mean(), rel=1e-5)
    assert evaluated["metrics/squared_error/update_op"].numpy() == pytest.approx(errors.mean(), rel=1e-5)
    losses = [modes["train"]["train"](**batch)["loss"].numpy() for _ in range(30)]
    assert losses[0] == pytest.approx(errors.mean(), rel=1e-5)
    assert losses[-1] < 0.1 * losses[0]


def test_a_session_trains_on_what_was_exported(trained, all_modes):
    with tf.Graph().as_default(), v1.Session() as session:
        signature = v1.saved_model.load(session, ["train"], all_modes).signature_def["train"]
        assert signature.method_name == "tensorflow/supervised/training"
        feed = {signature.inputs["feature"].name: programs.FEATURES, signature.inputs["label"].name: programs.LABELS}
        losses = [session.run(signature.outputs["loss"].name, feed) for _ in range(30)]
    assert losses[-1] < 0.1 * losses[0]


def test_one_mode_may_be_exported_alone(trained, tmp_path):
    supervised = export_outputs.build_raw_supervised_input_receiver_fn(programs.FEATURES, programs.LABELS, 8)
    export_dir = trained.export_saved_model(str(tmp_path / "export"), supervised, experimental_mode=ModeKeys.EVAL)
    assert set(tf.saved_model.load(export_dir).signatures) == {"eval"}


@pytest.mark.parametrize("receiver_fns", [{}, {"serve": receiver_of_features}])
def test_a_mode_must_be_one(trained, tmp_path, receiver_fns):
    with pytest.raises(ValueError, match="give an input_receiver_fn for modes among"):
        trained.experimental_export_all_saved_models(str(tmp_path / "export"), receiver_fns)


def test_what_makes_the_placeholders_must_be_there(trained, tmp_path):
    with pytest.raises(ValueError, match="An input_receiver_fn must be defined"):
        trained.export_saved_model(str(tmp_path / "export"), None)


def test_exporting_does_not_disturb_training(trained, tmp_path):
    before = trained.get_variable_value("weights")
    trained.export_saved_model(
        str(tmp_path / "export"), receiver_of_features, checkpoint_path=f"{trained.model_dir}/model.ckpt-0"
    )
    found = trained.evaluate(programs.input_fn)
    np.testing.assert_array_equal(trained.get_variable_value("weights"), before)
    errors = (programs.FEATURES @ before - programs.LABELS) ** 2
    assert found["squared_error"] == pytest.approx(errors.mean(), rel=1e-5)


def test_a_plain_spec_is_exported_alike(tmp_path):
    def model_fn(features, labels, mode, params):
        spec = programs.plain_model_fn(features, labels, mode)
        assert isinstance(spec, EstimatorSpec)
        return spec

    estimator = programs.make_estimator(tmp_path / "model", model_fn)
    estimator.train(programs.input_fn, steps=1)
    export_dir = estimator.export_saved_model(str(tmp_path / "export"), receiver_of_features)
    found = tf.saved_model.load(export_dir).signatures["serving_default"](x=tf.constant(BATCH))["value"]
    np.testing.assert_allclose(found, expected_values(estimator), rtol=1e-5)


def test_a_model_fn_that_wraps_its_inference_for_a_tpu_is_exported_as_it_is(tmp_path):
    def model_fn(features, labels, mode, params):
        if mode != ModeKeys.PREDICT:
            return programs.model_fn(features, labels, mode, params)
        batching = BatchConfig(1, 8, 100, [2, 8])
        (values,) = call_computation(features, lambda inputs: [programs.predicted(inputs["x"])], batching)
        return TPUEstimatorSpec(mode, predictions={"value": values})

    def receiver_fn():
        features = {"x": v1.placeholder(tf.float32, [None, 3])}
        return TensorServingInputReceiver(features, features)

    version = ExportSavedModelApiVersion.V2
    estimator = programs.make_estimator(tmp_path, model_fn, export_saved_model_api_version=version)
    estimator.train(programs.input_fn, max_steps=2)
    export_dir = export_estimator_savedmodel(estimator, str(tmp_path / "export"), receiver_fn)
    serve = tf.saved_model.load(export_dir).signatures["serving_default"]
    np.testing.assert_allclose(serve(x=tf.constant(BATCH))["value"], expected_values(estimator), rtol=1e-5)


def test_a_placeholder_keeps_its_default_value(trained, tmp_path):
    def scaled():
        features = v1.placeholder(tf.float32, [None, 3], name="features")
        scale = v1.placeholder_with_default(2.0, [], name="scale")
        return TensorServingInputReceiver(features * scale, {"x": features, "scale": scale})

    export_dir = trained.export_saved_model(str(tmp_path / "export"), scaled)
    found = tf.saved_model.load(export_dir).signatures["serving_default"](x=tf.constant(BATCH), scale=tf.constant(3.0))
    np.testing.assert_allclose(found["features"], BATCH * 3)
    with tf.Graph().as_default(), v1.Session() as session:
        signature = v1.saved_model.load(session, ["serve"], export_dir).signature_def["serving_default"]
        found = session.run(signature.outputs["features"].name, {"features:0": BATCH})
    np.testing.assert_allclose(found, BATCH * 2)


def test_files_that_no_table_reads_are_exported_too(trained, tmp_path):
    (tmp_path / "words.txt").write_text("hello")

    def with_file():
        v1.add_to_collection(v1.GraphKeys.ASSET_FILEPATHS, tf.constant(str(tmp_path / "words.txt")))
        return receiver_of_features()

    export_dir = trained.export_saved_model(str(tmp_path / "export"), with_file)
    assert (tmp_path / "export").joinpath(export_dir, "assets/words.txt").read_text() == "hello"


@pytest.mark.parametrize(("name", "shape"), [("_my scale", []), ("scale", tf.TensorShape(None))])
def test_variables_of_any_name_and_shape_are_exported(tmp_path, name, shape):
    scale = tf.Variable(3.0, name=name, shape=shape)

    def model_fn(features, labels, mode, params):
        values = programs.predicted(features) * scale
        if mode == ModeKeys.PREDICT:
            return TPUEstimatorSpec(mode, predictions={"value": values})
        loss = tf.reduce_mean((values - labels) ** 2)
        return TPUEstimatorSpec(mode, loss=loss, train_op=programs.minimize(loss))

    estimator = programs.make_estimator(tmp_path / "model", model_fn)
    estimator.train(programs.input_fn, max_steps=1)
    export_dir = estimator.export_saved_model(str(tmp_path / "export"), receiver_of_features)
    found = tf.saved_model.load(export_dir).signatures["serving_default"](x=tf.constant(BATCH))
    expected = expected_values(estimator) * estimator.get_variable_value(name)
    np.testing.assert_allclose(found["value"], expected, rtol=1e-5)


def test_an_operation_may_have_the_name_of_another_mode(tmp_path):
    def model_fn(features, labels, mode, params):
        values = tf.identity(programs.predicted(features), name="eval")
        loss = None if mode == ModeKeys.PREDICT else tf.reduce_mean((values - labels) ** 2)
        train_op = programs.minimize(loss) if mode == ModeKeys.TRAIN else None
        return TPUEstimatorSpec(mode, predictions={"value": values}, loss=loss, train_op=train_op)

    estimator = programs.make_estimator(tmp_path / "model", model_fn)
    estimator.train(programs.input_fn, max_steps=1)
    supervised = export_outputs.build_raw_supervised_input_receiver_fn(programs.FEATURES, programs.LABELS)
    export_dir = estimator.experimental_export_all_saved_models(
        str(tmp_path / "all"), {ModeKeys.PREDICT: receiver_of_features, ModeKeys.EVAL: supervised}
    )
    evaluate, serve = (tf.saved_model.load(export_dir, tags=[tag]).signatures for tag in ("eval", "serve"))
    found = evaluate["eval"](feature=tf.constant(programs.FEATURES), label=tf.constant(programs.LABELS))
    served = serve["serving_default"](x=tf.constant(programs.FEATURES))
    np.testing.assert_array_equal(found["predictions/value"], served["value"])


def test_a_ragged_tensor_is_exported(trained, tmp_path):
    def model_fn(features, labels, mode, params):
        return EstimatorSpec(mode, predictions={"ragged": tf.RaggedTensor.from_tensor(features)})

    estimator = programs.make_estimator(trained.model_dir, model_fn)
    export_dir = estimator.export_saved_model(str(tmp_path / "export"), receiver_of_features)
    with tf.Graph().as_default(), v1.Session() as session:
        signature = v1.saved_model.load(session, ["serve"], export_dir).signature_def["serving_default"]
        values = signature.outputs["ragged"].composite_tensor.components[0].name
        np.testing.assert_array_equal(session.run(values, {"features:0": BATCH}), BATCH.ravel())


@pytest.mark.parametrize("mean", [keras.metrics.Mean, pytest.param(tf_keras.metrics.Mean, marks=pytest.mark.slow)])
def test_an_evaluation_with_a_keras_metric_is_exported(trained, tmp_path, mean):
    def model_fn(features, labels, mode, params):
        values = programs.predicted(features)
        metric = mean(name="mean")
        metric.update_state(values)
        return EstimatorSpec(mode, loss=tf.reduce_mean(values - labels), eval_metric_ops={"mean": metric})

    supervised = export_outputs.build_raw_supervised_input_receiver_fn(programs.FEATURES, programs.LABELS)
    estimator = programs.make_estimator(trained.model_dir, model_fn)
    export_dir = estimator.export_saved_model(str(tmp_path / "all"), supervised, experimental_mode=ModeKeys.EVAL)
    evaluate = tf.saved_model.load(export_dir).signatures["eval"]
    found = evaluate(feature=tf.constant(BATCH), label=tf.constant(programs.LABELS[:3]))
    assert found["metrics/mean/value"].numpy() == pytest.approx(expected_values(trained).mean(), rel=1e-5)
