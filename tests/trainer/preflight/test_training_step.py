import contextlib
import dataclasses
import gc

import keras
import numpy as np
import pytest
import tensorflow as tf
import tf_keras

from trainer.engine.spec import TPUEstimatorSpec
from trainer.engine.variables import StoredVariable
from trainer.errors import UserError
from trainer.preflight.training_step import TrainingStep


def test_what_this_machine_cannot_hold_is_told_in_a_line(training_step):
    def model_fn(features, labels, mode, params):
        with tf.init_scope():
            tf.Variable(tf.zeros([2**21, 2**21]))

    step = dataclasses.replace(training_step, model_fn=model_fn)
    with pytest.raises(UserError, match=r"memory does not hold .*\[2097152,2097152\].*; give large var") as told:
        step.lower(per_replica_batch_size=8, num_replicas=2)
    assert "\n" not in str(told.value)


def tf_keras_variable():
    layer = tf_keras.layers.Dense(512, use_bias=False)
    layer(tf.ones([1, 512]))
    return layer.kernel[0]


def keras_variable():
    layer = keras.layers.Dense(512, use_bias=False)
    layer.build([1, 512])
    return layer.kernel.value[0]


def array_variable():
    return tf.Variable(np.ones([512], np.float32))


def initialized_by_another():
    return tf.Variable(tf.compat.v1.get_variable("scale", [512], trainable=False).initialized_value())


def test_inputs_are_the_batch_of_one_replica_then_the_state(training_step):
    step = training_step.lower(per_replica_batch_size=16, num_replicas=4)
    assert step.interface.num_batch_inputs == 2
    assert [item.shape for item in step.program.inputs[:2]] == [(16, 512), (16,)]
    variables = [(), (512, 256), (512, 256), (256, 10), (256, 10)]
    assert sorted(item.shape for item in step.program.inputs[2:]) == sorted(variables)
    assert step.state_bytes == 8 + sum(4 * int(np.prod(shape)) for shape in variables[1:])


def test_a_model_fn_may_have_neither_labels_nor_params():
    def model_fn(features, labels, mode):
        loss = tf.reduce_mean(features["vector"] * tf.compat.v1.get_variable("scale", []))
        optimizer = tf.compat.v1.tpu.CrossShardOptimizer(tf.compat.v1.train.GradientDescentOptimizer(0.1))
        train_op = optimizer.minimize(loss, global_step=tf.compat.v1.train.get_global_step())
        return TPUEstimatorSpec(mode, loss=loss, train_op=train_op)

    step = TrainingStep(model_fn, features={"vector": tf.TensorSpec([None, 4])})
    assert step.lower(per_replica_batch_size=8, num_replicas=2).program.inputs[0].shape == (8, 4)


def test_the_same_step_has_the_same_digest_and_another_batch_another(training_step):
    digests = [training_step.lower(size, num_replicas=2).program.digest for size in (16, 16, 32)]
    assert digests[0] == digests[1] != digests[2]


def test_the_state_takes_no_memory_of_this_machine(training_step):
    """What fits a TPU need not fit the machine that asks."""
    step = dataclasses.replace(training_step, params={"width": 20 * 2**20})
    lowered = step.lower(per_replica_batch_size=8, num_replicas=2)
    assert lowered.state_bytes == 8 + 2 * (512 + 10) * 20 * 2**20 * 4  # 88 GB with the momentum


@pytest.mark.parametrize("make_variable", [tf_keras_variable, keras_variable, array_variable, initialized_by_another])
def test_variables_of_any_style_keep_their_place(training_step, make_variable):
    def model_fn(features, labels, mode, params):
        vector = features["vector"] * make_variable()
        return training_step.model_fn({"vector": vector}, labels, mode, params)

    step = dataclasses.replace(training_step, model_fn=model_fn)
    names = step.lower(per_replica_batch_size=8, num_replicas=2).variable_names
    assert len(names) == 1 + 2 * 3, names


@pytest.mark.parametrize("is_offending", [False, True])
def test_nothing_of_a_step_stays_in_memory(training_step, is_offending):
    """A search for the largest batch lowers the step many times."""

    def num_variables():
        gc.collect()
        return sum(isinstance(found, StoredVariable) for found in gc.get_objects())

    before = num_variables()
    step = dataclasses.replace(training_step, params={"width": 256, "offender": is_offending})
    with pytest.raises(UserError) if is_offending else contextlib.nullcontext():
        step.lower(per_replica_batch_size=8, num_replicas=2)
    assert num_variables() == before


@tf.RegisterGradient("HalfOfAnIdentity")
def half_of_an_identity(operation, gradient):
    del operation
    return gradient / 2


def test_a_gradient_that_the_program_registered_serves_each_lowering(training_step):
    def model_fn(features, labels, mode, params):
        with tf.compat.v1.get_default_graph().gradient_override_map({"Identity": "HalfOfAnIdentity"}):
            vector = tf.identity(features["vector"] * tf.compat.v1.get_variable("scale", []))
        return training_step.model_fn({"vector": vector}, labels, mode, params)

    step = dataclasses.replace(training_step, model_fn=model_fn)
    digests = [step.lower(per_replica_batch_size=8, num_replicas=2).program.digest for _ in range(2)]
    assert digests[0] == digests[1]


def test_params_are_those_of_tpu_estimator(training_step):
    seen = {}

    def model_fn(features, labels, mode, params):
        seen.update(params)
        return training_step.model_fn(features, labels, mode, params)

    dataclasses.replace(training_step, model_fn=model_fn).lower(per_replica_batch_size=8, num_replicas=4)
    assert (seen["batch_size"], seen["width"], seen["use_tpu"], seen["context"].num_replicas) == (8, 256, True, 4)
    assert set(training_step.params) == {"width"}, "the caller's params are left alone"


def test_an_operation_that_does_not_run_on_tpus_is_told_with_its_line(training_step):
    offending = dataclasses.replace(training_step, params={"width": 256, "offender": True})
    with pytest.raises(UserError, match=r"conftest.py:\d+ \(loss \+= .*AsString.*strings stay on the host"):
        offending.lower(per_replica_batch_size=8, num_replicas=1)
