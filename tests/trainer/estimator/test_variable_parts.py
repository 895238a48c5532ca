"""Partitioned variables: one value in the checkpoint, as TensorFlow 1 wrote it."""

import numpy as np
import pytest
import tensorflow as tf

from trainer.errors import UserError
from trainer.estimator import ModeKeys, TPUEstimatorSpec, checkpoints, export_outputs

from . import programs

v1 = tf.compat.v1


def partitioned(num_parts):
    """Linear regression with weights of `num_parts` parts; None for an ordinary variable."""

    def model_fn(features, labels, mode, params):
        partitioner = v1.fixed_size_partitioner(num_parts) if num_parts else None
        weights = v1.get_variable("weights", [3, 2], initializer=v1.ones_initializer(), partitioner=partitioner)
        values = tf.reduce_sum(features @ tf.convert_to_tensor(weights), axis=1)
        if mode == ModeKeys.PREDICT:
            return TPUEstimatorSpec(mode, predictions={"value": values})
        loss = tf.reduce_mean((values - labels) ** 2)
        train_op = programs.minimize(loss) if mode == ModeKeys.TRAIN else None
        return TPUEstimatorSpec(mode, loss=loss, train_op=train_op)

    return model_fn


@pytest.mark.slow
@pytest.mark.parametrize("arguments", [{}, {"use_tpu": True, "config": {"master": "mock:2"}}], ids=["tf", "mock:2"])
def test_however_many_parts_a_variable_has_its_checkpoints_are_the_same(tmp_path, arguments):
    for max_steps, num_parts in enumerate((2, None, 3), start=2):
        whole = programs.make_estimator(tmp_path / "whole", partitioned(None), **arguments)
        parts = programs.make_estimator(tmp_path / "parts", partitioned(num_parts), **arguments)
        for estimator in (whole, parts):
            estimator.train(programs.input_fn, max_steps=max_steps)
        assert parts.get_variable_names() == ["global_step", "weights", "weights/Momentum"]
        for name in ("weights", "weights/Momentum"):
            np.testing.assert_allclose(parts.get_variable_value(name), whole.get_variable_value(name), rtol=1e-5)
        losses = [estimator.evaluate(programs.input_fn)["loss"] for estimator in (whole, parts)]
        assert losses[0] == pytest.approx(losses[1], rel=1e-5)


def test_parts_start_warm_from_a_whole(tmp_path):
    donor = programs.make_estimator(tmp_path / "donor", partitioned(None)).train(programs.input_fn, max_steps=3)
    warm = programs.make_estimator(tmp_path / "warm", partitioned(2), warm_start_from=donor.model_dir)
    warm.train(programs.input_fn, max_steps=1)
    first = checkpoints.read(f"{tmp_path}/warm/model.ckpt-0")["weights"]
    np.testing.assert_array_equal(first, donor.get_variable_value("weights"))


def test_parts_are_one_value_in_an_export_too(tmp_path):
    estimator = programs.make_estimator(tmp_path, partitioned(2)).train(programs.input_fn, max_steps=3)
    receiver_fn = export_outputs.build_raw_serving_input_receiver_fn({"x": programs.FEATURES})

    def receiver_of_x():
        receiver = receiver_fn()
        return export_outputs.TensorServingInputReceiver(receiver.features["x"], receiver.receiver_tensors)

    export_dir = estimator.export_saved_model(str(tmp_path / "export"), receiver_of_x)
    weights = estimator.get_variable_value("weights")
    np.testing.assert_array_equal(tf.train.load_variable(f"{export_dir}/variables/variables", "weights"), weights)
    found = tf.saved_model.load(export_dir).signatures["serving_default"](x=tf.constant(programs.FEATURES))["value"]
    np.testing.assert_allclose(found, np.sum(programs.FEATURES @ weights, axis=1), rtol=1e-5)


def test_another_shape_is_refused(tmp_path):
    programs.make_estimator(tmp_path).train(programs.input_fn, max_steps=1)
    with pytest.raises(UserError, match=r"weights/part_0 has shape \(3,\), the model's weights/part_0 has \(2, 2\)"):
        programs.make_estimator(tmp_path, partitioned(2)).train(programs.input_fn, max_steps=2)


def test_parts_without_an_initializer_begin_with_numbers_for_the_whole(tmp_path):
    def model_fn(features, labels, mode, params):
        weights = v1.get_variable("weights", [3, 100], partitioner=v1.fixed_size_partitioner(3))
        values = tf.reduce_sum(features @ tf.convert_to_tensor(weights), axis=1)
        loss = tf.reduce_mean((values - labels) ** 2)
        return TPUEstimatorSpec(mode, loss=loss, train_op=programs.minimize(loss) if mode == ModeKeys.TRAIN else None)

    estimator = programs.make_estimator(tmp_path, model_fn)
    estimator.train(programs.input_fn, steps=1)
    first = checkpoints.read(str(tmp_path / "model.ckpt-0"))["weights"]
    limits = [np.sqrt(6 / (num_rows + 100)) for num_rows in (3, 1)]
    assert 0.95 * limits[0] < np.abs(first).max() <= limits[0] < limits[1]


def test_shapes_are_told_as_numbers_whatever_dimensions_are(tmp_path):
    def model_fn(features, labels, mode, params):
        loss = tf.reduce_sum(v1.get_variable("weights", [5]))
        return TPUEstimatorSpec(mode, loss=loss, train_op=programs.minimize(loss))

    programs.make_estimator(tmp_path).train(programs.input_fn, steps=1)
    other = programs.make_estimator(tmp_path, model_fn)
    v1.disable_v2_tensorshape()
    try:
        with pytest.raises(UserError, match=r"weights has shape \(3,\), the model's weights has \(5,\)"):
            other.train(programs.input_fn, steps=1)
    finally:
        v1.enable_v2_tensorshape()
