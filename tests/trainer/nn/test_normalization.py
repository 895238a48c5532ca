import numpy as np
import pytest
import tensorflow as tf

from trainer.engine import pjrt_devices, pjrt_engine, step_program, variables
from trainer.engine.effects import Effects
from trainer.engine.step_program import StepResult
from trainer.errors import UserError
from trainer.nn.layers import ForwardPass
from trainer.nn.normalization import BatchNorm, BatchNormSettings
from trainer.nn.random_key import RandomKey

TRAINING = ForwardPass(is_training=True, key=RandomKey(0))
INFERENCE = ForwardPass(is_training=False, key=RandomKey(0))
EPSILON = 1e-5


def activations(batch=8, mean=3.0, seed=0):
    return np.random.default_rng(seed).normal(mean, 2.0, size=(batch, 3, 3, 5)).astype(np.float32)


def normalised(inputs, epsilon=EPSILON):
    return (inputs - inputs.mean((0, 1, 2))) / np.sqrt(inputs.var((0, 1, 2)) + epsilon)


@pytest.mark.parametrize("epsilon", [1e-5, 0.1])
def test_a_training_batch_is_normalised_with_its_own_statistics(epsilon):
    layer = BatchNorm(BatchNormSettings(epsilon=epsilon), name="norm")
    inputs = activations()
    np.testing.assert_allclose(layer(tf.constant(inputs), TRAINING), normalised(inputs, epsilon), atol=1e-4)


def test_the_epsilon_is_the_one_asked_for():
    layer, inputs = BatchNorm(BatchNormSettings(epsilon=1e-6), name="norm"), activations(mean=0) * 1e-3
    np.testing.assert_allclose(layer(tf.constant(inputs), TRAINING), normalised(inputs, 1e-6), atol=1e-4)


def test_gamma_and_beta_scale_and_shift():
    layer, inputs = BatchNorm(BatchNormSettings(), name="norm"), activations()
    layer(tf.constant(inputs), TRAINING)
    layer._created["gamma"].assign(np.arange(5))
    layer._created["beta"].assign(np.arange(5) - 2)
    expected = normalised(inputs) * np.arange(5) + np.arange(5) - 2
    np.testing.assert_allclose(layer(tf.constant(inputs), TRAINING), expected, atol=1e-4)


def test_moving_statistics_decay_towards_those_of_the_batches():
    layer = BatchNorm(BatchNormSettings(momentum=0.75), name="norm")
    mean, variance = np.zeros(5), np.ones(5)
    for seed in range(3):
        inputs = activations(seed=seed)
        layer(tf.constant(inputs), TRAINING)
        mean = 0.75 * mean + 0.25 * inputs.mean((0, 1, 2))
        variance = 0.75 * variance + 0.25 * inputs.var((0, 1, 2), ddof=1)
    np.testing.assert_allclose(layer._created["moving_mean"], mean, rtol=1e-4)
    np.testing.assert_allclose(layer._created["moving_variance"], variance, rtol=1e-4)
    outputs = layer(tf.constant(inputs), INFERENCE)
    np.testing.assert_allclose(outputs, (inputs - mean) / np.sqrt(variance + EPSILON), atol=1e-4)


def test_inference_changes_no_statistics():
    layer = BatchNorm(BatchNormSettings(), name="norm")
    layer(tf.constant(activations()), INFERENCE)
    np.testing.assert_array_equal(layer._created["moving_mean"], np.zeros(5))


def test_bfloat16_activations_have_float32_statistics():
    layer = BatchNorm(BatchNormSettings(momentum=0.0), name="norm")
    inputs = tf.cast(activations(mean=100.0), tf.bfloat16)
    outputs = layer(inputs, TRAINING)
    assert outputs.dtype == tf.bfloat16
    exact = tf.cast(inputs, tf.float32).numpy()
    np.testing.assert_allclose(tf.cast(outputs, tf.float32), normalised(exact), atol=0.02)
    np.testing.assert_allclose(layer._created["moving_mean"], exact.mean((0, 1, 2)), rtol=1e-5)


def test_statistics_and_parameters_are_told_apart():
    layer = BatchNorm(BatchNormSettings(), name="norm", is_zero_initialised=True)
    layer(tf.constant(activations()), TRAINING)
    assert [variable.name for variable in layer.trainable_variables] == ["norm/beta:0", "norm/gamma:0"]
    np.testing.assert_array_equal(layer._created["gamma"], np.zeros(5))


def test_groups_must_divide_the_replicas():
    with pytest.raises(UserError, match=r"--batch_norm_group_size=2: 1 replica\(s\) do not divide into groups of 2"):
        BatchNorm(BatchNormSettings(group_size=2), name="norm")(tf.constant(activations()), TRAINING)


def run_on_replicas(num_replicas, group_size, inputs, weights):
    """Runs one training step; returns outputs, gradient of each replica's mean loss, and moving statistics."""
    engine = pjrt_engine.PjrtEngine(pjrt_devices.select(f"mock:{num_replicas}"))
    settings = BatchNormSettings(momentum=0.0, group_size=group_size)

    def step(batch):
        images, weights = batch
        layer = BatchNorm(settings, name="norm")
        outputs = layer(images, TRAINING)
        loss = tf.reduce_mean(tf.sin(outputs) * weights)
        (gradient,) = tf.gradients(loss, [images])
        return StepResult(per_replica={"outputs": outputs, "gradient": gradient}, effects=Effects.LOOSE)

    shape = [len(inputs) // num_replicas, *inputs.shape[1:]]
    store = variables.VariableStore()
    specs = (tf.TensorSpec(shape), tf.TensorSpec(shape))
    program = step_program.trace_step(step, specs, store, engine.replica_context())
    executable = engine.load(program)
    executable.read_state()
    results = program.pack_outputs(executable([tf.constant(inputs), tf.constant(weights)]))["per_replica"]
    executable.write_state()
    moving = [store[f"norm/moving_{name}"].numpy() for name in ("mean", "variance")]
    return np.asarray(results["outputs"]), np.asarray(results["gradient"]), *moving


@pytest.mark.parametrize("mean", [0.0, 50.0])
def test_a_group_of_replicas_normalises_as_one_large_batch(mean):
    inputs, weights = activations(mean=mean), activations(seed=1)
    outputs, gradient, moving_mean, moving_variance = run_on_replicas(4, 4, inputs, weights)
    whole_outputs, whole_gradient, whole_mean, whole_variance = run_on_replicas(1, 1, inputs, weights)
    np.testing.assert_allclose(outputs, whole_outputs, atol=2e-3)
    np.testing.assert_allclose(gradient, whole_gradient * 4, atol=2e-5)  # each loss is a mean over a quarter
    np.testing.assert_allclose(moving_mean, whole_mean, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(moving_variance, whole_variance, rtol=2e-3)


def test_each_group_has_its_own_statistics():
    inputs = activations()
    inputs[4:] *= 10
    outputs, *_ = run_on_replicas(4, 2, inputs, inputs)
    np.testing.assert_allclose(outputs[:4], normalised(inputs[:4]), atol=1e-3)
    np.testing.assert_allclose(outputs[4:], normalised(inputs[4:]), atol=1e-3)


def test_moving_statistics_follow_the_mean_over_replicas():
    inputs = activations()
    *_, moving_mean, moving_variance = run_on_replicas(4, 1, inputs, inputs)
    np.testing.assert_allclose(moving_mean, inputs.mean((0, 1, 2)), rtol=1e-4)
    per_replica = [part.var((0, 1, 2), ddof=1) for part in np.split(inputs, 4)]
    np.testing.assert_allclose(moving_variance, np.mean(per_replica, axis=0), rtol=1e-4)
