import math

import numpy as np
import pytest
import tensorflow as tf
import tf_keras

from trainer.engine import step_program, variables
from trainer.engine.step_program import StepResult
from trainer.nn import layers
from trainer.nn.layers import Conv2D, ConvolutionShape, Dense, ForwardPass, Sequential, SpaceToDepthConv2D
from trainer.nn.random_key import RandomKey

FORWARD = ForwardPass(is_training=True, key=RandomKey(0))


def images(size=8, channels=3, batch=2, seed=0):
    return tf.constant(np.random.default_rng(seed).normal(size=(batch, size, size, channels)), tf.float32)


def keras_convolution(inputs, kernel, shape):
    """Keras's convolution after symmetric zero padding, which is what PyTorch and the TPU reference compute."""
    reference = tf_keras.layers.Conv2D(
        shape.filters, shape.kernel_size, strides=shape.strides, groups=shape.num_groups, use_bias=False
    )
    padded = tf_keras.layers.ZeroPadding2D(shape.kernel_size // 2)(inputs)
    reference.build(padded.shape)
    reference.set_weights([kernel])
    return reference(padded)


@pytest.mark.parametrize("size", [8, 7])
@pytest.mark.parametrize(
    "shape",
    [
        ConvolutionShape(4, 3),
        ConvolutionShape(4, 3, strides=2),
        ConvolutionShape(4, 1, strides=2),
        ConvolutionShape(4, 7, strides=2),
        ConvolutionShape(6, 3, num_groups=3),
        ConvolutionShape(6, 3, strides=2, num_groups=3),
    ],
)
def test_convolution_agrees_with_keras(shape, size):
    layer, inputs = Conv2D(shape, name="conv"), images(size)
    outputs = layer(inputs, FORWARD)
    (kernel,) = layer.trainable_variables
    np.testing.assert_allclose(outputs, keras_convolution(inputs, kernel, shape), atol=1e-5)


@pytest.mark.parametrize(("kernel_size", "size"), [(3, 12), (5, 12), (7, 12), (7, 13)])
def test_space_to_depth_convolution_is_the_plain_one_with_the_same_kernel(kernel_size, size):
    shape = ConvolutionShape(4, kernel_size, strides=2)
    plain, folded, inputs = Conv2D(shape, name="conv"), SpaceToDepthConv2D(shape, name="conv"), images(size)
    with tf.GradientTape(persistent=True) as tape:
        outputs = [layer(inputs, FORWARD) for layer in (plain, folded)]
        losses = [tf.reduce_sum(tf.sin(output)) for output in outputs]
    np.testing.assert_allclose(*outputs, atol=1e-5)
    gradients = [
        tape.gradient(loss, layer.trainable_variables[0]) for loss, layer in zip(losses, (plain, folded), strict=True)
    ]
    np.testing.assert_allclose(*gradients, atol=1e-4)


def test_dense_is_a_product_and_a_bias():
    layer, inputs = Dense(3, name="dense"), tf.constant([[1.0, 2.0]])
    layer(inputs, FORWARD)
    kernel, bias = (layer._created[name] for name in ("kernel", "bias"))
    bias.assign([1.0, 2.0, 3.0])
    np.testing.assert_allclose(layer(inputs, FORWARD), inputs.numpy() @ kernel.numpy() + [1.0, 2.0, 3.0], rtol=1e-6)


@pytest.mark.parametrize("dtype", [tf.float32, tf.bfloat16])
def test_activations_keep_their_dtype_and_kernels_are_float32(dtype):
    layer = Conv2D(ConvolutionShape(4, 3), name="conv")
    assert layer(tf.cast(images(), dtype), FORWARD).dtype == dtype
    assert layer.trainable_variables[0].dtype == tf.float32


def test_initial_kernels_keep_the_variance_of_gradients():
    layer = Conv2D(ConvolutionShape(64, 3), name="conv")
    layer(images(channels=64), FORWARD)
    assert layer.trainable_variables[0].numpy().std() == pytest.approx(math.sqrt(2 / (9 * 64)), rel=0.02)


def variable_names(layer):
    return [variable.name for variable in layer.variables]


def nested():
    return Sequential([Sequential([Conv2D(ConvolutionShape(2, 3), name="conv1")], name="block1")], name="group1")


def test_variables_are_named_after_the_path_of_layers():
    layer = nested()
    layer(images(), FORWARD)
    assert variable_names(layer) == ["group1/block1/conv1/kernel:0"]


def test_variables_are_found_by_name_in_a_trace_whose_scopes_are_taken():
    store = variables.VariableStore()

    def step(batch):
        tf.identity(1.0, name="group1")
        with tf.name_scope("group1/block1"):
            tf.identity(1.0, name="conv1")
        return StepResult(replicated={"outputs": nested()(batch, FORWARD)})

    for _ in range(2):
        step_program.trace_step(step, tf.TensorSpec([2, 8, 8, 3]), store)
    assert list(store.trainable) == ["group1/block1/conv1/kernel"]


def test_a_layer_called_twice_has_one_set_of_variables():
    layer = nested()
    first, second = layer(images(), FORWARD), layer(images(), FORWARD)
    np.testing.assert_array_equal(first, second)
    assert len(layer.variables) == 1


def test_initial_weights_depend_on_seed_and_name_alone():
    def kernel(name, seed, step=0):
        layer = Conv2D(ConvolutionShape(2, 3), name=name)
        layer(images(), ForwardPass(is_training=True, key=RandomKey(seed, step, replica=step)))
        return layer.trainable_variables[0].numpy()

    np.testing.assert_array_equal(kernel("conv1", 0), kernel("conv1", 0, step=7))
    assert not np.any(kernel("conv1", 0) == kernel("conv2", 0))
    assert not np.any(kernel("conv1", 0) == kernel("conv1", 1))


def test_pooling_agrees_with_numpy():
    inputs = images(4).numpy()
    windows = inputs.reshape(2, 2, 2, 2, 2, 3)
    np.testing.assert_allclose(layers.max_pool(inputs, 2, 2), windows.max(axis=(2, 4)))
    np.testing.assert_allclose(layers.average_pool(inputs, 2, 2), windows.mean(axis=(2, 4)), rtol=1e-5)


def test_average_pool_leaves_out_pixels_beyond_the_border():
    np.testing.assert_array_equal(layers.average_pool(tf.ones([1, 3, 3, 1]), 2, 2), tf.ones([1, 2, 2, 1]))


def test_global_average_of_bfloat16_is_taken_in_float32():
    ones = tf.ones([1, 64, 64, 1], tf.bfloat16) * 1.0078125
    assert layers.global_average_pool(ones).numpy().item() == 1.0078125
