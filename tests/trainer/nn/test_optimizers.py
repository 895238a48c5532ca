import collections

import numpy as np
import pytest
import tensorflow as tf
import tf_keras

from trainer.engine import pjrt_devices, pjrt_engine, step_program, variables
from trainer.engine.effects import Effects
from trainer.engine.step_program import StepResult
from trainer.nn.ema import MovingAverages
from trainer.nn.optimizers import LARS, SGD, AdamW

GENERATOR = np.random.default_rng(0)
KERNEL = GENERATOR.normal(size=(3, 2)).astype(np.float32)
BIAS = GENERATOR.normal(size=2).astype(np.float32)
GRADIENTS = [[GENERATOR.normal(size=value.shape).astype(np.float32) for value in (KERNEL, BIAS)] for _ in range(4)]
RATES = (0.1, 0.1, 0.05, 0.01)


def trained(optimizer, kernel=KERNEL):
    """Applies GRADIENTS one after the other; returns kernel and bias."""
    weights = [tf.Variable(kernel, name="dense/kernel"), tf.Variable(BIAS, name="dense/bias")]
    for gradients, rate in zip(GRADIENTS, RATES, strict=True):
        optimizer.apply([tf.constant(gradient) for gradient in gradients], weights, rate)
    return [variable.numpy() for variable in weights]


def keras_trained(optimizer):
    weights = [tf.Variable(KERNEL), tf.Variable(BIAS)]
    for gradients, rate in zip(GRADIENTS, RATES, strict=True):
        optimizer.learning_rate = rate
        optimizer.apply_gradients(zip(map(tf.constant, gradients), weights, strict=True))
    return [variable.numpy() for variable in weights]


def test_sgd_without_momentum_is_plain_descent():
    kernel, _ = trained(SGD(momentum=0.0))
    expected = KERNEL - sum(rate * gradients[0] for rate, gradients in zip(RATES, GRADIENTS, strict=True))
    np.testing.assert_allclose(kernel, expected, rtol=1e-5)


@pytest.mark.parametrize("nesterov", [False, True])
def test_momentum_agrees_with_tensorflow(nesterov):
    reference = [tf.Variable(KERNEL), tf.Variable(BIAS)]
    slots = [tf.Variable(tf.zeros_like(value)) for value in reference]
    for gradients, rate in zip(GRADIENTS, RATES, strict=True):
        for variable, slot, gradient in zip(reference, slots, gradients, strict=True):
            tf.raw_ops.ResourceApplyMomentum(
                var=variable.handle, accum=slot.handle, lr=rate, grad=gradient, momentum=0.9, use_nesterov=nesterov
            )
    for value, expected in zip(trained(SGD(momentum=0.9, nesterov=nesterov)), reference, strict=True):
        np.testing.assert_allclose(value, expected, rtol=1e-5)


def test_adamw_agrees_with_keras():
    reference = tf_keras.optimizers.AdamW(weight_decay=0.01, epsilon=1e-8)
    reference.exclude_from_weight_decay(var_list=[])
    kernel, _ = trained(AdamW(weight_decay=0.01))
    np.testing.assert_allclose(kernel, keras_trained(reference)[0], rtol=1e-4)
    _, bias = trained(AdamW(weight_decay=0.01))
    np.testing.assert_allclose(bias, keras_trained(tf_keras.optimizers.Adam(epsilon=1e-8))[1], rtol=1e-4)


def test_lars_steps_are_proportional_to_the_norm_of_the_kernel():
    kernel = tf.Variable(KERNEL, name="kernel")
    LARS(momentum=0.0, trust_coefficient=0.1).apply([tf.constant(GRADIENTS[0][0])], [kernel], 0.5)
    step = np.linalg.norm(kernel.numpy() - KERNEL)
    assert step == pytest.approx(0.5 * 0.1 * np.linalg.norm(KERNEL), rel=1e-4)


def test_lars_follows_its_formula_with_momentum_and_weight_decay():
    weights, velocity = KERNEL.copy(), np.zeros_like(KERNEL)
    for (gradient, _), rate in zip(GRADIENTS, RATES, strict=True):
        norm = np.linalg.norm(weights)
        trust = 0.01 * norm / (np.linalg.norm(gradient) + 0.1 * norm)
        velocity = 0.9 * velocity + rate * trust * (gradient + 0.1 * weights)
        weights -= velocity
    np.testing.assert_allclose(trained(LARS(trust_coefficient=0.01, weight_decay=0.1))[0], weights, rtol=1e-5)


def test_lars_moves_a_kernel_of_zeros():
    kernel, _ = trained(LARS(weight_decay=0.1), kernel=np.zeros_like(KERNEL))
    assert np.all(kernel != 0)
    assert np.all(np.isfinite(kernel))


@pytest.mark.parametrize("optimizer_type", [SGD, LARS, AdamW])
def test_weight_decay_leaves_biases_alone(optimizer_type):
    plain, decayed = trained(optimizer_type()), trained(optimizer_type(weight_decay=0.1))
    assert not np.any(plain[0] == decayed[0])
    np.testing.assert_array_equal(plain[1], decayed[1])


def test_clipping_bounds_the_global_norm():
    weights = [tf.Variable(KERNEL), tf.Variable(BIAS)]
    SGD(momentum=0.0, clip_norm=0.5).apply([tf.constant(gradient) for gradient in GRADIENTS[0]], weights, 1.0)
    step = np.concatenate([(weights[0] - KERNEL).numpy().ravel(), (weights[1] - BIAS).numpy()])
    assert np.linalg.norm(step) == pytest.approx(0.5, rel=1e-5)


def test_slots_are_named_after_their_variable():
    store = variables.VariableStore()

    def step(gradients):
        weights = [tf.Variable(lambda: tf.zeros([2]), name=name) for name in ("dense/bias", "dense/gamma")]
        SGD().apply(gradients, weights, 0.1)
        AdamW().apply(gradients, weights, 0.1)
        return StepResult(effects=Effects.LOOSE)

    step_program.trace_step(step, [tf.TensorSpec([2])] * 2, store)
    slots = set(store.saved) - set(store.trainable) - {"global_step"}
    names = [f"dense/{name}/{slot}" for name in ("bias", "gamma") for slot in ("momentum", "adam_mean")]
    assert slots >= {*names, "dense/bias/adam_mean_of_squares", "adam/num_updates"}


@pytest.mark.parametrize("optimizer_type", [SGD, LARS, AdamW])
def test_operations_of_an_update_are_named_after_their_variable(optimizer_type):
    """`preflight` and profiles show by it which layer they are of."""

    def step(gradients):
        weights = [tf.Variable(lambda: tf.zeros([2, 2]), name=f"{layer}/kernel") for layer in ("stem", "head")]
        with tf.name_scope("training"):
            optimizer_type(weight_decay=0.1).apply(gradients, weights, 0.1)
            MovingAverages(0.9).update(weights, 3)
        return StepResult(effects=Effects.LOOSE)

    store = variables.VariableStore()
    program = step_program.trace_step(step, [tf.TensorSpec([2, 2])] * 2, store, pjrt_engine.replica_context(2))
    by_type = collections.defaultdict(set)
    for operation in program.concrete_function.graph.get_operations():
        by_type[operation.type].add(operation.name.rpartition("/")[0])
    assert by_type["XlaAllReduce"] == by_type["AssignSubVariableOp"] == {"stem/kernel", "head/kernel"}
    assert {"stem/kernel", "head/kernel"} == by_type["AssignVariableOp"]
    saved = {name for name in store.saved if name.startswith("stem/")}
    assert saved >= {"stem/kernel", "stem/kernel/ExponentialMovingAverage"}


def test_a_variable_that_the_loss_ignores_is_named():
    with pytest.raises(ValueError, match="the loss does not depend on unused/kernel:0"):
        SGD().apply([None], [tf.Variable(KERNEL, name="unused/kernel")], 0.1)


@pytest.mark.parametrize("optimizer_type", [SGD, LARS, AdamW])
def test_replicas_take_the_step_of_their_mean_gradient(optimizer_type):
    batch = GENERATOR.normal(size=(8, 3)).astype(np.float32)

    def kernel_after_training(num_replicas):
        engine = pjrt_engine.PjrtEngine(pjrt_devices.select(f"mock:{num_replicas}"))

        def step(inputs):
            kernel = tf.Variable(lambda: tf.constant(KERNEL), name="kernel")
            loss = tf.reduce_mean(tf.square(inputs @ kernel))
            optimizer_type(clip_norm=1.0).apply(tf.gradients(loss, [kernel]), [kernel], 0.1)
            return StepResult(replicated={"loss": loss}, effects=Effects.LOOSE)

        store = variables.VariableStore()
        spec = tf.TensorSpec([8 // num_replicas, 3])
        executable = engine.load(step_program.trace_step(step, spec, store, engine.replica_context()))
        executable.read_state()
        for _ in range(3):
            executable([tf.constant(batch)])
        executable.write_state()
        return store["kernel"].numpy()

    np.testing.assert_allclose(kernel_after_training(4), kernel_after_training(1), rtol=1e-5)
