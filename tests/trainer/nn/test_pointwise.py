import numpy as np
import pytest
import tensorflow as tf

from trainer.nn import pointwise
from trainer.nn.layers import Conv2D, ConvolutionShape, ForwardPass
from trainer.nn.normalization import BatchNorm, BatchNormSettings
from trainer.nn.random_key import RandomKey

TRAINING = ForwardPass(is_training=True, key=RandomKey(0))
INFERENCE = ForwardPass(is_training=False, key=RandomKey(0))
FILTERS = 32
NAMES = ("outputs", "inputs' gradient", "kernel's", "gamma's", "beta's", "moving mean", "moving variance")


def activations(mean, num_channels=16, seed=0):
    """Neighbouring channels are correlated, as those of a network are."""
    values = np.random.default_rng(seed).normal(size=(8, 12, 12, num_channels))
    return (np.cumsum(values, axis=-1) * 0.3 + mean).astype(np.float32)


def layers(from_inputs, shape=None, **settings):
    convolution = Conv2D(shape or ConvolutionShape(FILTERS, 1), name="conv")
    settings = {"momentum": 0.0, "from_inputs": from_inputs} | settings
    return convolution, BatchNorm(BatchNormSettings(**settings), name="norm")


def with_drawn_weights(inputs, *pair):
    generator = np.random.default_rng(1)
    pointwise.normalised(tf.constant(inputs), *pair, TRAINING)
    weights = [pair[0].trainable_variables[0], pair[1]._created["gamma"], pair[1]._created["beta"]]
    for variable in weights:
        variable.assign(generator.normal(0.5, 0.3, variable.shape))
    return weights


def train_once(from_inputs, inputs, dtype="float32", is_compiled=False, loss_weight=0.0):
    """Returns what `NAMES` names, float32, of one step with a loss that weighs every output differently.

    A mean `loss_weight` gives the gradients that arrive a mean.
    """
    pair = layers(from_inputs)
    weights = with_drawn_weights(inputs, *pair)
    loss_weights = np.random.default_rng(2).normal(loss_weight, size=(*inputs.shape[:3], FILTERS)).astype(np.float32)

    @tf.function(autograph=False, jit_compile=is_compiled)
    def step(inputs):
        outputs = pointwise.normalised(inputs, *pair, TRAINING)
        loss = tf.reduce_sum(tf.sin(tf.cast(outputs, tf.float32)) * loss_weights)
        return [outputs, *tf.gradients(loss, [inputs, *weights])]

    results = step(tf.cast(inputs, dtype))
    moving = [pair[1]._created[f"moving_{name}"] for name in ("mean", "variance")]
    return [tf.cast(value, tf.float32).numpy() for value in (*results, *moving)]


def distances(found, expected):
    pairs = zip(found, expected, strict=True)
    return {name: np.linalg.norm(a - b) / np.linalg.norm(b) for name, (a, b) in zip(NAMES, pairs, strict=True)}


@pytest.mark.parametrize("is_compiled", [False, pytest.param(True, marks=pytest.mark.slow)])
@pytest.mark.parametrize(("mean", "tolerance"), [(0.0, 2e-5), (3.0, 5e-5), (100.0, 1e-2)])
def test_float32_results_are_those_of_the_two_layers(mean, tolerance, is_compiled):
    """At a mean of 100 deviations the kernel's gradient is a small difference of large sums on either way."""
    inputs = activations(mean)
    found = distances(train_once(True, inputs, is_compiled=is_compiled), train_once(False, inputs))
    assert max(found.values()) < tolerance, found
    assert max(found[name] for name in ("outputs", "moving mean", "moving variance")) < 5e-5, found


@pytest.mark.parametrize("loss_weight", [0.0, 0.1])
@pytest.mark.parametrize("mean", [0.0, 3.0, 100.0])
def test_bfloat16_results_are_as_near_to_the_exact_ones_as_those_of_the_two_layers(mean, loss_weight):
    inputs = tf.cast(tf.cast(activations(mean), tf.bfloat16), tf.float32).numpy()
    exact = train_once(False, inputs, loss_weight=loss_weight)
    fused = distances(train_once(True, inputs, "bfloat16", loss_weight=loss_weight), exact)
    separate = distances(train_once(False, inputs, "bfloat16", loss_weight=loss_weight), exact)
    for name in NAMES:
        assert fused[name] < 2 * separate[name] + 5e-3, (name, fused, separate)


def test_the_variance_is_kept_where_correlated_channels_cancel():
    """Covariances of 1 and variances down to 5e-5, which covariances rounded to bfloat16 would lose."""
    generator = np.random.default_rng(3)
    common = generator.normal(size=(8, 12, 12, 1))
    inputs = (common + 0.01 * generator.normal(size=(8, 12, 12, 2))).astype(np.float32)
    pair = layers(True, ConvolutionShape(4, 1))
    pointwise.normalised(tf.constant(inputs), *pair, TRAINING)
    kernel = np.array([[1.0, 1.0, -1.0, 0.5], [-1.0, 1.0, 1.0, -0.5]], np.float32)
    pair[0].trainable_variables[0].assign(kernel[None, None])
    pointwise.normalised(tf.constant(inputs), *pair, TRAINING)
    expected = (inputs @ kernel).astype(np.float64).var((0, 1, 2), ddof=1)
    np.testing.assert_allclose(pair[1]._created["moving_variance"], expected, rtol=1e-2)


def test_the_parts_of_a_number_are_bfloat16_and_add_up_to_it():
    values = np.random.default_rng(4).normal(size=1000).astype(np.float32)
    parts = [part.numpy() for part in pointwise._bfloat16_parts(tf.constant(values))]
    for part in parts:
        np.testing.assert_array_equal(tf.cast(tf.cast(part, tf.bfloat16), tf.float32), part)
    np.testing.assert_allclose(sum(part.astype(np.float64) for part in parts), values, rtol=2**-23)


def test_the_variables_are_those_of_the_two_layers():
    fused, separate = layers(True), layers(False)
    for pair in (fused, separate):
        pointwise.normalised(tf.constant(activations(0.0)), *pair, TRAINING)
    names = [sorted(variable.name for layer in pair for variable in layer.variables) for pair in (fused, separate)]
    assert names[0] == names[1]
    assert "conv/kernel:0" in names[0]


def plain_outputs_are_made(pair, inputs, forward=TRAINING):
    @tf.function(autograph=False)
    def step(inputs):
        return pointwise.normalised(inputs, *pair, forward)

    pointwise.normalised(tf.constant(inputs), *pair, forward)
    operations = step.get_concrete_function(tf.TensorSpec(inputs.shape)).graph.get_operations()
    return any(operation.type == "FusedBatchNormV3" for operation in operations)


@pytest.mark.parametrize(
    "shape",
    [ConvolutionShape(16, 1), ConvolutionShape(32, 3), ConvolutionShape(32, 1, strides=2)],
    ids=["not wider", "3x3", "strided"],
)
def test_other_convolutions_are_normalised_by_their_outputs(shape):
    assert plain_outputs_are_made(layers(True, shape), activations(0.0))


def test_only_training_with_the_setting_takes_the_inputs_statistics():
    inputs = activations(0.0)
    assert not plain_outputs_are_made(layers(True), inputs)
    assert plain_outputs_are_made(layers(False), inputs)
    assert plain_outputs_are_made(layers(True), inputs, INFERENCE)
