import jax
import numpy as np
import pytest
import tensorflow as tf

from trainer.engine import stablehlo, stablehlo_for_gpu


def program_of(function, *arguments) -> stablehlo.Program:
    specs = [tf.TensorSpec(value.shape, value.dtype) for value in arguments]
    traced = tf.function(function, jit_compile=True, autograph=False).get_concrete_function(*specs)
    return stablehlo.prepare(stablehlo.lower(traced))


def run(program, *arguments):
    (result,) = jax.jit(stablehlo.as_jax_function(program, platform="cpu"))(*arguments)
    return np.asarray(result)


def names(program) -> list[str]:
    found = []
    stablehlo.rewritten(
        program, lambda module: found.extend(item.name for item in stablehlo.operations(module.operation))
    )
    return found


def images(*shape, dtype=np.float32):
    """Few different values: most windows hold their maximum more than once."""
    return np.random.default_rng(0).integers(-3, 4, shape).astype(dtype)


def max_pool(size, strides, padding):
    return lambda inputs: tf.nn.max_pool2d(inputs, size, strides, padding)


def gradient_of(function):
    def gradient(inputs, weights):
        with tf.GradientTape() as tape:
            tape.watch(inputs)
            loss = tf.reduce_sum(function(inputs) * weights)
        return tape.gradient(loss, inputs)

    return gradient


@pytest.mark.parametrize("dtype", [np.float32, pytest.param(jax.numpy.bfloat16, marks=pytest.mark.slow)])
@pytest.mark.parametrize(
    ("size", "strides", "padding"),
    [
        (3, 2, "SAME"),
        (2, 2, "VALID"),
        (3, 1, "SAME"),
        (2, 3, "VALID"),
        ((1, 3), (2, 1), "SAME"),
        (5, 2, "SAME"),
    ],
)
def test_max_pool_gradient_goes_to_the_first_maximum_of_each_window(size, strides, padding, dtype):
    function, inputs = max_pool(size, strides, padding), images(2, 13, 12, 3, dtype=dtype)
    weights = np.random.default_rng(1).integers(1, 9, function(inputs).shape).astype(dtype)
    program = program_of(gradient_of(function), inputs, weights)
    rewritten = stablehlo_for_gpu.for_gpu(program)
    assert "stablehlo.select_and_scatter" in names(program)
    assert "stablehlo.select_and_scatter" not in names(rewritten)
    np.testing.assert_array_equal(run(rewritten, inputs, weights), by_tensorflow(function, inputs, weights))


def by_tensorflow(function, inputs, weights):
    """The gradient by TensorFlow's kernels: XLA's own for CPUs takes the first maximum of some windows only.

    Small integers: their sums are exact in either dtype.
    """
    return gradient_of(function)(tf.constant(inputs.astype(np.float32)), tf.constant(weights.astype(np.float32)))


def test_two_poolings_of_different_windows_in_one_program():
    inputs, weights = images(1, 16, 16, 2), np.ones((1, 4, 4, 2), np.float32)

    def function(inputs):
        return tf.nn.max_pool2d(tf.nn.max_pool2d(inputs, 2, 2, "SAME"), 3, 2, "SAME")

    rewritten = stablehlo_for_gpu.for_gpu(program_of(gradient_of(function), inputs, weights))
    np.testing.assert_array_equal(run(rewritten, inputs, weights), by_tensorflow(function, inputs, weights))


def test_a_large_window_stays():
    inputs, weights = images(1, 12, 12, 2), np.ones((1, 2, 2, 2), np.float32)
    program = program_of(gradient_of(max_pool(6, 6, "VALID")), inputs, weights)
    assert "stablehlo.select_and_scatter" in names(stablehlo_for_gpu.for_gpu(program))


def test_sums_of_overlapping_windows_are_rounded_once():
    inputs = np.zeros((1, 3, 3, 1), jax.numpy.bfloat16)
    inputs[0, 1, 1, 0] = 1
    weights = np.array([256, 1, 1, 0], jax.numpy.bfloat16).reshape(1, 2, 2, 1)
    program = program_of(gradient_of(max_pool(2, 1, "VALID")), inputs, weights)
    assert run(stablehlo_for_gpu.for_gpu(program), inputs, weights)[0, 1, 1, 0] == 258


def test_the_gradient_of_a_relu_reads_its_output():
    inputs, weights = images(2, 4, 4, 3), images(2, 4, 4, 3) + 0.5
    program = program_of(gradient_of(lambda inputs: tf.nn.relu(inputs * 2.0)), inputs, weights)
    rewritten = stablehlo_for_gpu.for_gpu(program)
    assert names(rewritten).count("stablehlo.optimization_barrier") == 1
    np.testing.assert_array_equal(run(rewritten, inputs, weights), run(program, inputs, weights))


def convolution(strides, padding):
    return lambda inputs, kernel: tf.nn.conv2d(inputs, kernel, strides, padding)


def kernel_gradient_of(function):
    def gradient(inputs, kernel):
        with tf.GradientTape() as tape:
            tape.watch(kernel)
            loss = tf.reduce_sum(tf.square(function(inputs, kernel)))
        return tape.gradient(loss, kernel)

    return gradient


@pytest.mark.parametrize(
    "padding", ["SAME", "VALID", [[0, 0], [3, 3], [3, 3], [0, 0]], [[0, 0], [1, 2], [0, 4], [0, 0]]]
)
@pytest.mark.parametrize("kernel_size", [(7, 7), (3, 3), (5, 4), (2, 1)])
@pytest.mark.parametrize("of", [lambda function: function, kernel_gradient_of], ids=["outputs", "kernel_gradient"])
def test_a_stem_works_on_blocks_of_pixels(of, kernel_size, padding):
    inputs, kernel = images(2, 12, 10, 3), images(*kernel_size, 3, 8)
    program = program_of(of(convolution(2, padding)), inputs, kernel)
    rewritten = stablehlo_for_gpu.for_gpu(program)
    assert channels_of_convolutions(rewritten) == {12}
    np.testing.assert_array_equal(run(rewritten, inputs, kernel), run(program, inputs, kernel))


def channels_of_convolutions(program) -> set[int]:
    """The fewest channels that the images of the program's convolutions have, whichever axis holds them."""
    found = set()

    def note(module):
        for item in stablehlo.operations(module.operation):
            if item.name == "stablehlo.convolution":
                found.add(stablehlo.tensor_type(item.operands[0].type).shape[3])

    stablehlo.rewritten(program, note)
    return found


@pytest.mark.parametrize(
    ("shape", "strides"), [((2, 13, 12, 3), 2), ((2, 12, 12, 8), 2), ((2, 12, 12, 3), 1), ((2, 12, 12, 3), 3)]
)
def test_other_convolutions_stay(shape, strides):
    inputs, kernel = images(*shape), images(3, 3, shape[3], 8)
    program = program_of(kernel_gradient_of(convolution(strides, "SAME")), inputs, kernel)
    assert channels_of_convolutions(stablehlo_for_gpu.for_gpu(program)) == {shape[3]}


@pytest.mark.parametrize("of", [lambda function: function, kernel_gradient_of], ids=["outputs", "kernel_gradient"])
def test_a_convolution_in_full_precision_stays(of):
    inputs, kernel = images(2, 12, 12, 3), images(3, 3, 3, 8)
    tf.config.experimental.enable_tensor_float_32_execution(False)
    try:
        program = program_of(of(convolution(2, "SAME")), inputs, kernel)
    finally:
        tf.config.experimental.enable_tensor_float_32_execution(True)
    assert channels_of_convolutions(stablehlo_for_gpu.for_gpu(program)) == {3}


def test_other_programs_stay_as_they_are():
    inputs = images(3, 4)
    program = program_of(lambda inputs: tf.where(inputs > 0.0, tf.maximum(inputs, 1.0), inputs), inputs)
    assert names(stablehlo_for_gpu.for_gpu(program)) == names(program)
