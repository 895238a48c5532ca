import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tensorflow as tf

from trainer.config import ModelConfig
from trainer.models import registry, resnet
from trainer.nn.layers import ForwardPass
from trainer.nn.random_key import RandomKey

TRAINING = ForwardPass(is_training=True, key=RandomKey(0))
INFERENCE = ForwardPass(is_training=False, key=RandomKey(0))
NUM_CLASSES = 5

VARIANTS = {
    "v1.5": {},
    "preactivation": {"preactivation": True},
    "resnet_d": {"resnet_d_stem": True, "resnet_d_shortcut": True},
    "squeeze_excitation": {"se_ratio": 0.25},
    "regularised": {"dropblock_keep_prob": 0.8, "stochastic_depth_rate": 0.2, "dropout_rate": 0.2},
    "space_to_depth": {"space_to_depth_stem": True},
}


def images(size=32, batch=4):
    return tf.constant(np.random.default_rng(0).normal(size=(batch, size, size, 3)), tf.float32)


def build(network, **settings):
    return registry.build(ModelConfig(network=network, **{"width_multiplier": 0.125, **settings}), NUM_CLASSES)


class Reference:
    """ResNet v1.5 written anew in JAX, over the variables of ours."""

    def __init__(self, network, row):
        self.row = row
        self.values = {variable.name.partition(":")[0]: jnp.asarray(variable) for variable in network.variables}

    def convolution(self, inputs, name, strides):
        kernel = self.values[f"{name}/kernel"]
        margin = (kernel.shape[0] // 2,) * 2
        return jax.lax.conv_general_dilated(
            inputs, kernel, (strides, strides), (margin, margin), dimension_numbers=("NHWC", "HWIO", "NHWC")
        )

    def norm(self, inputs, name):
        mean, variance = inputs.mean((0, 1, 2)), inputs.var((0, 1, 2))
        return (inputs - mean) / jnp.sqrt(variance + 1e-5) * self.values[f"{name}/gamma"] + self.values[f"{name}/beta"]

    def block(self, inputs, name, strides):
        bottleneck = f"{name}/conv3/kernel" in self.values
        residual = inputs
        for number, conv_strides in enumerate((1, strides, 1) if bottleneck else (strides, 1), start=1):
            residual = self.convolution(
                jax.nn.relu(residual) if number > 1 else residual, f"{name}/conv{number}", conv_strides
            )
            residual = self.norm(residual, f"{name}/norm{number}")
        if f"{name}/projection/kernel" in self.values:
            inputs = self.norm(self.convolution(inputs, f"{name}/projection", strides), f"{name}/projection_norm")
        return jax.nn.relu(inputs + residual)

    def __call__(self, inputs):
        outputs = self.convolution(inputs, "stem/conv1", 1 if self.row.is_for_small_images else 2)
        outputs = jax.nn.relu(self.norm(outputs, "stem/norm1"))
        if not self.row.is_for_small_images:
            outputs = jax.lax.reduce_window(outputs, -jnp.inf, jax.lax.max, (1, 3, 3, 1), (1, 2, 2, 1), "SAME")
        for group, count in enumerate(self.row.blocks, start=1):
            for number in range(1, count + 1):
                strides = 2 if group > 1 and number == 1 else 1
                outputs = self.block(outputs, f"group{group}/block{number}", strides)
        return outputs.mean((1, 2)) @ self.values["classifier/kernel"] + self.values["classifier/bias"]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["resnet18", "resnet50", "resnet20"])
def test_the_network_agrees_with_one_written_in_jax(name):
    network = build(name, zero_init_last_gamma=False)
    outputs = network(images(64), TRAINING).logits
    row = next(row for row in resnet.ROWS if row.name == name)
    np.testing.assert_allclose(outputs, Reference(network, row)(images(64).numpy()), atol=2e-3)


@pytest.mark.parametrize("name", ["resnet8", "resnet18_small"])
def test_small_networks_take_images_of_8_pixels(name):
    assert build(name)(images(8), TRAINING).logits.shape == [4, NUM_CLASSES]


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("name", ["resnet18", pytest.param("resnet50", marks=pytest.mark.slow)])
def test_logits_are_float32_whatever_the_activations(name, variant):
    network = build(name, **VARIANTS[variant])
    logits = network(tf.cast(images(), tf.bfloat16), TRAINING).logits
    assert logits.dtype == tf.float32
    assert np.all(np.isfinite(logits))


@pytest.mark.parametrize("variant", ["v1.5", "preactivation", "resnet_d"])
def test_a_fresh_network_passes_on_its_stem(variant):
    """With the blocks starting as the identity, the depth of a group makes no difference."""
    deep, shallow = (build(name, **VARIANTS[variant]) for name in ("resnet34", "resnet18"))
    np.testing.assert_allclose(deep(images(), TRAINING).logits, shallow(images(), TRAINING).logits, atol=1e-5)


@pytest.mark.parametrize("variant", [variant for variant in VARIANTS if variant != "regularised"])
@pytest.mark.parametrize("name", ["resnet18", pytest.param("resnet50", marks=pytest.mark.slow)])
def test_every_weight_learns_within_two_steps(name, variant):
    network = build(name, **VARIANTS[variant])
    labels = tf.constant([0, 1, 2, 3])
    for _ in range(2):
        with tf.GradientTape() as tape:
            logits = network(images(), TRAINING).logits
            loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits))
        gradients = tape.gradient(loss, network.trainable_variables)
        for variable, gradient in zip(network.trainable_variables, gradients, strict=True):
            variable.assign_sub(0.1 * gradient)
    still = [
        variable.name
        for variable, gradient in zip(network.trainable_variables, gradients, strict=True)
        if not np.any(gradient)
    ]
    assert still == []


@pytest.mark.parametrize("variant", [variant for variant in VARIANTS if variant not in ("resnet_d", "space_to_depth")])
def test_gradients_agree_with_finite_differences(variant):
    network = build("resnet8", width_multiplier=0.5, zero_init_last_gamma=False, **VARIANTS[variant])

    def loss():
        logits = network(images(8), TRAINING).logits
        return tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits([0, 1, 2, 3], logits))

    with tf.GradientTape() as tape:
        value = loss()
    gradients = tape.gradient(value, network.trainable_variables)
    norm = tf.linalg.global_norm(gradients)

    def loss_after(distance):
        for variable, gradient in zip(network.trainable_variables, gradients, strict=True):
            variable.assign_add(distance * gradient / norm)
        return float(loss())

    step = 1e-2
    ahead, behind = loss_after(step), loss_after(-2 * step)
    assert (ahead - behind) / (2 * step) == pytest.approx(float(norm), rel=0.03)


def test_space_to_depth_stem_gives_the_same_logits():
    plain, folded = build("resnet18"), build("resnet18", space_to_depth_stem=True)
    np.testing.assert_allclose(plain(images(), TRAINING).logits, folded(images(), TRAINING).logits, atol=1e-5)


@pytest.mark.slow
def test_regularisers_act_in_training_only():
    plain, regularised = build("resnet18"), build("resnet18", **VARIANTS["regularised"])
    np.testing.assert_array_equal(plain(images(), INFERENCE).logits, regularised(images(), INFERENCE).logits)
    assert np.any(plain(images(), TRAINING).logits != regularised(images(), TRAINING).logits)


def test_width_multiplier_scales_every_group():
    network = build("resnet20", width_multiplier=2.0)
    network(images(), INFERENCE)
    filters = {variable.shape[-1] for variable in network.trainable_variables if "conv1/kernel" in variable.name}
    assert filters == {32, 64, 128}


@pytest.mark.slow
@pytest.mark.parametrize("name", ["resnet8", "resnet18", "resnet50"])
def test_every_kind_of_stem_and_block_compiles_with_xla(name):
    network = build(name, width_multiplier=0.0625)

    @tf.function(jit_compile=True, autograph=False)
    def gradient_norm(inputs):
        loss = tf.reduce_mean(tf.square(network(inputs, TRAINING).logits))
        return tf.linalg.global_norm(tf.gradients(loss, network.trainable_variables))

    assert np.isfinite(float(gradient_norm(tf.cast(images(32, batch=2), tf.bfloat16))))


def training_step(images, **settings):
    """Returns (loss, all gradients in one vector, moving statistics by name) of a bottleneck network."""
    network = build("resnet50", zero_init_last_gamma=False, **settings)
    with tf.GradientTape() as tape:
        loss = tf.reduce_mean(tf.nn.log_softmax(network(images, TRAINING).logits)[:, 0])
    gradients = [np.ravel(gradient) for gradient in tape.gradient(loss, network.trainable_variables)]
    moving = {v.name: v.numpy() for v in network.variables if "moving" in v.name}
    return float(loss), np.concatenate(gradients), moving


@pytest.mark.slow
@pytest.mark.parametrize("variant", ["v1.5", "resnet_d", "regularised"])
def test_statistics_from_inputs_change_no_more_than_the_last_digit_of_the_images(variant):
    """50 layers with ReLUs that open or close enlarge any rounding; this one hardly more than another."""
    inputs = images(size=64, batch=8)
    loss, gradients, moving = training_step(inputs, batch_norm_from_inputs=True, **VARIANTS[variant])
    separate = {"batch_norm_from_inputs": False} | VARIANTS[variant]
    expected_loss, expected_gradients, expected_moving = training_step(inputs, **separate)
    noise = np.random.default_rng(1).normal(1.0, 1e-6, inputs.shape).astype(np.float32)
    _, neighbouring_gradients, _ = training_step(inputs * noise, **separate)
    assert loss == pytest.approx(expected_loss, rel=1e-4)
    distance = np.linalg.norm(gradients - expected_gradients)
    assert distance < 3 * np.linalg.norm(neighbouring_gradients - expected_gradients)
    assert distance < 0.1 * np.linalg.norm(expected_gradients)
    for name, expected in expected_moving.items():
        np.testing.assert_allclose(moving[name], expected, rtol=1e-3, atol=1e-4, err_msg=name)
