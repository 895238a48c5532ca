import jax
import numpy as np
import pytest
import tensorflow as tf
from tensorflow.compiler.tf2xla.ops import gen_xla_ops

from trainer.engine import stablehlo

BATCH = tf.TensorSpec([4, 3], tf.float32)


class Step(tf.Module):
    """A weight, a counter, and a constant that the step reads only."""

    def __init__(self):
        self.weight = tf.Variable(np.arange(6, dtype=np.float32).reshape(3, 2), name="weight")
        self.count = tf.Variable(7, dtype=tf.int64, name="count")
        self.scale = tf.Variable(0.5, name="scale")

    @tf.function(jit_compile=True, autograph=False)
    def __call__(self, batch):
        with tf.name_scope("layer"):
            product = batch @ self.weight * self.scale
        self.weight.assign_sub(tf.matmul(batch, product, transpose_a=True))
        self.count.assign_add(1)
        return product, tf.cast(product, tf.bfloat16)


def lowered(function, *specs) -> stablehlo.Program:
    return stablehlo.prepare(stablehlo.lower(function.get_concrete_function(*specs)))


def lowered_step(batch_spec=BATCH) -> stablehlo.Program:
    step = Step()  # the tf.function holds it by a weak reference only
    return lowered(step.__call__, batch_spec)


def test_prepare_tells_inputs_results_and_updates():
    program = lowered_step()
    float32, bfloat16 = np.dtype(np.float32), np.dtype(jax.numpy.bfloat16)
    assert program.inputs[0] == stablehlo.TensorType((4, 3), float32)
    assert {item.shape for item in program.inputs[1:]} == {(3, 2), ()}
    assert program.results[:2] == (stablehlo.TensorType((4, 2), float32), stablehlo.TensorType((4, 2), bfloat16))
    for result, source in program.updated_inputs.items():
        assert program.results[result] == program.inputs[source]
    assert len(program.updated_inputs) == 2, "the constant is not updated"


def test_the_jax_function_computes_what_tensorflow_does():
    step = Step()
    batch = np.random.default_rng(0).normal(size=(4, 3)).astype(np.float32)
    program = lowered(step.__call__, BATCH)
    by_shape = {(3, 2): step.weight, (): step.scale}
    inputs = [step.count if item.dtype == np.int64 else by_shape[item.shape] for item in program.inputs[1:]]
    with jax.enable_x64(True):
        results = jax.jit(stablehlo.as_jax_function(program, platform="cpu"))(batch, *[item.numpy() for item in inputs])
    product, _ = step(tf.constant(batch))
    np.testing.assert_allclose(results[0], product, rtol=1e-6)
    for result, source in program.updated_inputs.items():
        np.testing.assert_allclose(results[result], inputs[source - 1].numpy(), rtol=1e-6)


def test_read_gives_back_the_program():
    program = lowered_step()
    assert stablehlo.read(program.portable_bytes) == program


def test_digest_tells_programs_apart_and_traces_alike():
    assert lowered_step().digest == lowered_step().digest
    wider = tf.TensorSpec([8, 3], tf.float32)
    assert lowered_step().digest != lowered_step(wider).digest


def test_prepare_keeps_operation_names_and_drops_paths():
    portable = lowered_step().portable_bytes
    assert b"layer/" in portable
    assert b".py" not in portable


def test_prepare_makes_replicas_partitions():
    @tf.function(jit_compile=True, autograph=False)
    def step(batch):
        replica_id = tf.cast(gen_xla_ops.xla_replica_id(), tf.float32)
        total = gen_xla_ops.xla_all_reduce(batch, [[0]], reduce_op="Add", mode="CrossReplica")
        return total + replica_id

    batch = np.ones((4, 3), np.float32)
    function = stablehlo.as_jax_function(lowered(step, BATCH), platform="cpu")
    text = jax.jit(function).lower(batch).as_text()
    assert "stablehlo.partition_id" in text
    assert "replica_id" not in text
    assert "use_global_device_ids" in text
    np.testing.assert_array_equal(jax.jit(function)(batch)[0], batch)


@pytest.mark.parametrize(
    "dtype",
    ["bool", "int8", "uint8", "int32", "uint32", "int64", "bfloat16", "float16", "float64", "float8_e4m3fn"],
)
def test_dtypes(dtype):
    reversed_vector = tf.function(lambda vector: vector[::-1], jit_compile=True)
    program = lowered(reversed_vector, tf.TensorSpec([2], dtype))
    assert program.inputs == (stablehlo.TensorType((2,), np.dtype(tf.as_dtype(dtype).as_numpy_dtype)),)


@pytest.mark.parametrize("shape", [[64], [64, 2]])
def test_a_shuffle_without_a_seed_shuffles(shape):
    @tf.function(jit_compile=True)
    def shuffle(rows):
        return tf.random.shuffle(rows)

    program = lowered(shuffle, tf.TensorSpec(shape, tf.int32))
    rows = np.arange(np.prod(shape), dtype=np.int32).reshape(shape)
    (shuffled,) = jax.jit(stablehlo.as_jax_function(program, platform="cpu"))(rows)
    assert (np.asarray(shuffled) != rows).any()
    np.testing.assert_array_equal(np.sort(shuffled, axis=0), rows)
