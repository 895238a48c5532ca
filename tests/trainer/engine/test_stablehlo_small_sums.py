import os
import subprocess
import sys

import jax
import numpy as np
import pytest
import tensorflow as tf
from jax.sharding import PartitionSpec
from tensorflow.compiler.tf2xla.ops import gen_xla_ops

from trainer.engine import pjrt_devices, pjrt_step, stablehlo, stablehlo_small_sums

NUM_REPLICAS = 4
ALL = [[0, 1, 2, 3]]
PAIRS = [[0, 1], [2, 3]]


def over_replicas(value, groups=ALL, reduce_op="Add"):
    return gen_xla_ops.xla_all_reduce(value, groups, reduce_op=reduce_op, mode="CrossReplica")


def gathered(function):
    """Returns a function's results over replicas, without and with small sums gathered, and the shapes of the sums."""
    specs = [tf.TensorSpec([8, 4], tf.float32)]
    traced = tf.function(function, jit_compile=True, autograph=False).get_concrete_function(*specs)
    program = stablehlo.prepare(stablehlo.lower(traced))
    fewer = stablehlo.rewritten(program, stablehlo_small_sums.gather)
    return run(program), run(fewer), shapes_of_sums(fewer)


def run(program):
    mesh = pjrt_step.replica_mesh(pjrt_devices.select(f"mock:{NUM_REPLICAS}").devices)
    over = PartitionSpec(pjrt_step.REPLICA_AXIS)
    function = stablehlo.as_jax_function(program, platform="cpu")
    batch = np.random.default_rng(0).normal(size=(8 * NUM_REPLICAS, 4)).astype(np.float32)
    results = jax.jit(jax.shard_map(function, mesh=mesh, in_specs=over, out_specs=over, check_vma=False))(batch)
    return [np.asarray(result) for result in results]


def shapes_of_sums(program) -> list[tuple[int, ...]]:
    found = []

    def note(module):
        sums = (item for item in stablehlo.operations(module.operation) if item.name == "stablehlo.all_reduce")
        found.extend(stablehlo.tensor_type(item.results[0].type).shape for item in sums)

    stablehlo.rewritten(program, note)
    return sorted(found)


def assert_same(before, after):
    for one, other in zip(before, after, strict=True):
        np.testing.assert_array_equal(one, other)


def test_sums_that_do_not_depend_on_each_other_become_one():
    def step(batch):
        rows, total = over_replicas(tf.reduce_sum(batch, 1)), over_replicas(tf.reduce_sum(batch))
        used_early = tf.sin(rows)  # which now has to wait for the sum below
        columns = over_replicas(tf.reduce_sum(tf.cos(batch), 0, keepdims=True))
        return used_early, columns * total

    before, after, shapes = gathered(step)
    assert shapes == [(8 + 1 + 4,)]
    assert_same(before, after)


def test_a_sum_of_a_sum_comes_after_it():
    def step(batch):
        first = over_replicas(tf.reduce_sum(batch, 1)), over_replicas(tf.reduce_sum(batch, 0))
        second = over_replicas(tf.exp(-tf.abs(first[0]))), over_replicas(tf.reduce_sum(batch) * first[1])
        return *first, *second

    before, after, shapes = gathered(step)
    assert shapes == [(12,), (12,)]
    assert_same(before, after)


def test_what_is_summed_otherwise_stays_apart():
    def step(batch):
        rows = tf.reduce_sum(batch, 1)
        large = tf.tile(batch, [1, 2049])
        return (
            *(over_replicas(rows), over_replicas(rows + 1.0)),
            *(over_replicas(rows, PAIRS), over_replicas(rows + 1.0, PAIRS)),
            *(over_replicas(rows, reduce_op="Max"), over_replicas(rows + 1.0, reduce_op="Max")),
            *(over_replicas(tf.cast(rows, tf.bfloat16)), over_replicas(tf.cast(rows * 3.0, tf.int32))),
            *(over_replicas(large), over_replicas(large + 1.0)),
        )

    before, after, shapes = gathered(step)
    assert shapes == [(8,), (8,), (8,), (8,), (8, 8196), (8, 8196), (16,), (16,)]
    assert_same(before, after)


@pytest.mark.parametrize("num_steps", [1, 3])
def test_sums_in_a_loop(num_steps):
    def step(batch):
        def body(index, rows):
            return index + 1, over_replicas(rows / 2.0) + tf.reduce_sum(over_replicas(tf.reduce_sum(batch, 0)))

        _, rows = tf.while_loop(lambda index, _: index < num_steps, body, (0, tf.reduce_sum(batch, 1)))
        return (rows,)

    before, after, shapes = gathered(step)
    assert set(shapes) == {(12,)}
    assert_same(before, after)


GATHER_TWO = """
from jax.interpreters import mlir as jax_mlir
from jaxlib.mlir import ir
from trainer.engine import stablehlo_small_sums
SUM = '''"stablehlo.all_reduce"(%value) ({
  ^bb0(%x: tensor<f32>, %y: tensor<f32>):
    %sum = stablehlo.add %x, %y : tensor<f32>
    stablehlo.return %sum : tensor<f32>
  }) {replica_groups = dense<[[0, 1]]> : tensor<1x2xi64>} : (tensor<4xf32>) -> tensor<4xf32>
'''
TYPES = "tensor<4xf32>, tensor<4xf32>"
with jax_mlir.make_ir_context(), ir.Location.unknown():
    module = ir.Module.parse(
        f"func.func @main(%value: tensor<4xf32>) -> ({TYPES}) {{ %a = {SUM} %b = {SUM} return %a, %b : {TYPES} }}"
    )
    stablehlo_small_sums.gather(module)
    print(str(module).count("all_reduce"))
"""


def test_what_is_gone_is_not_read():
    """What MLIR frees is overwritten here at once: reading it ends the process."""
    environment = os.environ | {"GLIBC_TUNABLES": "glibc.malloc.tcache_count=0", "MALLOC_PERTURB_": "165"}
    command = [sys.executable, "-c", GATHER_TWO]
    done = subprocess.run(command, env=environment, check=True, capture_output=True, text=True, timeout=120)
    assert done.stdout == "1\n"
