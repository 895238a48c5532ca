import os
import socket
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

from tests.durations import slow_but
from trainer import replica
from trainer.engine import pjrt_devices, pjrt_engine, step_program, tf_engine, variables
from trainer.engine.effects import Effects
from trainer.engine.step_program import StepResult

GLOBAL_BATCH_SIZE = 16
ENGINES = {
    "tf": tf_engine.TfEngine,
    "mock:1": lambda: pjrt_engine.PjrtEngine(pjrt_devices.select("mock:1")),
    "mock:4": lambda: pjrt_engine.PjrtEngine(pjrt_devices.select("mock:4")),
    "mock:8": lambda: pjrt_engine.PjrtEngine(pjrt_devices.select("mock:8")),
}


@pytest.fixture(params=slow_but(ENGINES, "tf", "mock:4"))
def engine(request):
    return ENGINES[request.param]()


def trace(step_fn, engine, *shapes, store=None):
    per_replica = GLOBAL_BATCH_SIZE // engine.num_replicas
    specs = tuple(tf.TensorSpec([per_replica, *shape]) for shape in shapes)
    store = store or variables.VariableStore()
    return step_program.trace_step(step_fn, specs, store, engine.replica_context(), seed=1)


def batches(num_batches, *shapes, seed=0):
    generator = np.random.default_rng(seed)
    return [
        [tf.constant(generator.normal(size=(GLOBAL_BATCH_SIZE, *shape)), tf.float32) for shape in shapes]
        for _ in range(num_batches)
    ]


def graph_style_training(batch):
    """A program of TensorFlow 1's time: get_variable, an optimizer with slots, CrossShardOptimizer."""
    inputs, targets = batch
    kernel = tf.compat.v1.get_variable("kernel", [4, 8], initializer=tf.compat.v1.truncated_normal_initializer(seed=3))
    outputs = tf.tanh(inputs @ kernel)
    loss = tf.reduce_mean(tf.square(outputs - targets))
    optimizer = tf.compat.v1.tpu.CrossShardOptimizer(tf.compat.v1.train.MomentumOptimizer(0.1, 0.9))
    train_op = optimizer.minimize(loss, global_step=tf.compat.v1.train.get_global_step())
    return StepResult(
        replicated={"loss": loss}, per_replica={"outputs": outputs}, targets=[train_op], effects=Effects.LOOSE
    )


def values(store):
    return {name: variable.numpy() for name, variable in store.saved.items()}


def assert_same_state(state, expected):
    assert set(state) == set(expected)
    for name, value in expected.items():
        np.testing.assert_allclose(state[name], value, rtol=1e-5, atol=1e-6, err_msg=name)


def train(engine, num_steps=4, store=None, first_step=0):
    store = store or variables.VariableStore()
    program = trace(graph_style_training, engine, (4,), (8,), store=store)
    executable = engine.load(program)
    outputs = None
    for batch in batches(first_step + num_steps, (4,), (8,))[first_step:]:
        outputs = program.pack_outputs(executable(batch))
    executable.write_state()
    return store, outputs


def test_what_was_found_is_one_log_line(caplog):
    caplog.set_level("INFO", logger="absl")
    pjrt_engine.PjrtEngine(pjrt_devices.select("mock:4"))
    (line,) = [record.getMessage() for record in caplog.records if "pjrt engine" in record.getMessage()]
    assert line == "pjrt engine: 4 x cpu (cpu), one replica on each"


def test_every_engine_trains_alike(engine):
    store, outputs = train(engine)
    expected_store, expected_outputs = train(tf_engine.TfEngine())
    assert_same_state(values(store), values(expected_store))
    assert set(values(store)) == {"global_step", "kernel", "kernel/Momentum"}
    np.testing.assert_allclose(
        outputs["per_replica"]["outputs"], expected_outputs["per_replica"]["outputs"], rtol=1e-4, atol=1e-5
    )


def test_training_moves_between_engines():
    store, _ = train(ENGINES["mock:8"](), num_steps=2)
    train(tf_engine.TfEngine(), num_steps=2, store=store, first_step=2)
    train(ENGINES["mock:4"](), num_steps=2, store=store, first_step=4)
    expected, _ = train(tf_engine.TfEngine(), num_steps=6)
    assert_same_state(values(store), values(expected))
    assert store.global_step.numpy() == 6


def test_read_state_takes_over_what_was_restored():
    engine = ENGINES["mock:4"]()
    store = variables.VariableStore()
    executable = engine.load(trace(graph_style_training, engine, (4,), (8,), store=store))
    store["kernel"].assign(tf.zeros([4, 8]))
    store.global_step.assign(41)
    executable.read_state()
    (batch,) = batches(1, (4,), (8,))
    outputs = executable.program.pack_outputs(executable(batch))
    np.testing.assert_array_equal(outputs["per_replica"]["outputs"], np.zeros((GLOBAL_BATCH_SIZE, 8)))
    executable.write_state()
    assert store.global_step.numpy() == 42
    assert np.any(store["kernel"].numpy())


def test_replicas_draw_different_numbers_and_the_same_again(engine):
    def step_fn(batch):
        seed = tf.stack([tf.constant(7, tf.int32), tf.cast(replica.current().replica_id(), tf.int32)])
        noise = tf.random.stateless_uniform(batch[0].shape, seed)
        return StepResult(per_replica={"noise": noise})

    program = trace(step_fn, engine, (3,))
    (batch,) = batches(1, (3,))
    noise = np.asarray(program.pack_outputs(engine.load(program)(batch))["per_replica"]["noise"])
    again = np.asarray(program.pack_outputs(engine.load(program)(batch))["per_replica"]["noise"])
    np.testing.assert_array_equal(noise, again)
    shares = np.split(noise, engine.num_replicas)
    assert len({share.tobytes() for share in shares}) == engine.num_replicas


@pytest.mark.parametrize("draw", [tf.random.shuffle, lambda rows: tf.random.categorical(rows, 9)])
def test_shuffles_and_samples_have_a_lowering(engine, draw):
    def step_fn(batch):
        increment = tf.compat.v1.train.get_global_step().assign_add(1)
        return StepResult(per_replica={"drawn": draw(batch[0])}, targets=[increment])

    program = trace(step_fn, engine, (3,))
    executable = engine.load(program)
    (batch,) = batches(1, (3,))
    first, second = (np.asarray(program.pack_outputs(executable(batch))["per_replica"]["drawn"]) for _ in range(2))
    assert first.shape == (GLOBAL_BATCH_SIZE, *draw(batch[0]).shape[1:])
    assert (first != second).any(), "each step draws anew"
    if draw is tf.random.shuffle:
        for share, shuffled in zip(*(np.split(rows, engine.num_replicas) for rows in (batch[0], first)), strict=True):
            np.testing.assert_array_equal(np.sort(share, axis=0), np.sort(shuffled, axis=0))


def test_random_numbers_in_loops_follow_the_step(engine):
    def step_fn(batch):
        drawn = tf.map_fn(lambda _: tf.random.uniform([4]), tf.range(3.0))
        return StepResult({"drawn": drawn}, targets=[tf.compat.v1.train.get_global_step().assign_add(1)])

    def drawn(first_step, num_steps):
        store = variables.VariableStore()
        store.global_step.assign(first_step)
        program = trace(step_fn, engine, (3,), store=store)
        executable = engine.load(program)
        (batch,) = batches(1, (3,))
        return [np.asarray(program.pack_outputs(executable(batch))["replicated"]["drawn"]) for _ in range(num_steps)]

    whole = drawn(0, 3)
    np.testing.assert_array_equal(drawn(1, 2), whole[1:])
    assert len(np.unique(whole)) == np.size(whole)


def test_gradients_go_through_loops_that_read_arrays(engine):
    def step_fn(batch):
        scale = tf.compat.v1.get_variable("scale", [4], initializer=tf.compat.v1.ones_initializer())
        rows = tf.TensorArray(tf.float32, 3).unstack(tf.ones([3, 1]) * scale)
        _, total = tf.while_loop(
            lambda i, _: i < 3,
            lambda i, total: (i + 1, total + rows.read(i) * (total + 1.0)),
            (0, tf.zeros([4])),
            maximum_iterations=3,
        )
        return StepResult({"gradient": tf.gradients(tf.reduce_sum(total), scale)[0]})

    program = trace(step_fn, engine, (3,))
    outputs = program.pack_outputs(engine.load(program)(batches(1, (3,))[0]))
    # (1 + s)^3 - 1 at s = 1.
    np.testing.assert_allclose(np.asarray(outputs["replicated"]["gradient"]), [12.0] * 4, rtol=1e-6)


def test_variables_that_replicas_do_not_share_are_kept_as_replica_0_has_them():
    def step_fn(batch):
        mean = tf.compat.v1.get_variable("mean", [], initializer=tf.compat.v1.zeros_initializer(), trainable=False)
        return StepResult(targets=[mean.assign(tf.reduce_mean(batch[0]))], effects=Effects.REQUESTED)

    engine = ENGINES["mock:4"]()
    store = variables.VariableStore()
    executable = engine.load(trace(step_fn, engine, (3,), store=store))
    (batch,) = batches(1, (3,))
    executable(batch)
    executable.write_state()
    first_share = batch[0].numpy()[: GLOBAL_BATCH_SIZE // 4]
    np.testing.assert_allclose(store["mean"].numpy(), first_share.mean(), rtol=1e-5)


@pytest.mark.parametrize("groups", [None, [[0, 1], [2, 3]], [[0, 3], [1, 2]]])
def test_sums_over_groups_of_replicas_and_their_gradients(groups):
    def step_fn(batch):
        (values,) = batch
        total = replica.current().all_reduce_sum(values, groups)
        (gradient,) = tf.gradients(tf.reduce_sum(total * values), [values])
        return StepResult(per_replica={"total": total, "gradient": gradient})

    engine = ENGINES["mock:4"]()
    program = trace(step_fn, engine, (3,))
    (batch,) = batches(1, (3,))
    outputs = program.pack_outputs(engine.load(program)(batch))["per_replica"]
    shares = batch[0].numpy().reshape(4, -1, 3)
    expected = np.empty_like(shares)
    for group in groups or [[0, 1, 2, 3]]:
        expected[group] = shares[group].sum(axis=0)
    np.testing.assert_allclose(outputs["total"], expected.reshape(-1, 3), rtol=1e-5)
    # d/dv of sum over replicas of (total * v): once through v itself, once through the total of every replica.
    np.testing.assert_allclose(outputs["gradient"], 2 * expected.reshape(-1, 3), rtol=1e-5)


@pytest.mark.parametrize("name", ["tf", "mock:4"])
def test_cross_replica_sum_of_tensorflow_sums_over_our_replicas(name):
    def step_fn(batch):
        return StepResult(replicated={"total": tf.compat.v1.tpu.cross_replica_sum(tf.reduce_sum(batch[0]))})

    engine = ENGINES[name]()
    program = trace(step_fn, engine, (3,))
    (batch,) = batches(1, (3,))
    total = program.pack_outputs(engine.load(program)(batch))["replicated"]["total"]
    np.testing.assert_allclose(total, batch[0].numpy().sum(), rtol=1e-5)


def test_constants_and_narrow_types_pass_through(engine):
    table = tf.constant([[1, 2], [3, 4]], tf.uint8)

    def step_fn(batch):
        rows = tf.cast(batch[0][:, 0] > 0, tf.int32)
        return StepResult(per_replica={"picked": tf.gather(table, rows), "half": tf.cast(batch[0], tf.bfloat16)})

    program = trace(step_fn, engine, (3,))
    (batch,) = batches(1, (3,))
    outputs = program.pack_outputs(engine.load(program)(batch))["per_replica"]
    expected = table.numpy()[(batch[0].numpy()[:, 0] > 0).astype(int)]
    np.testing.assert_array_equal(np.asarray(outputs["picked"]), expected)
    assert np.asarray(outputs["half"]).dtype == tf.bfloat16.as_numpy_dtype


PROCESS = """
import sys
import numpy as np
sys.path.insert(0, {tests!r})
from trainer.engine import pjrt_devices
devices = pjrt_devices.select({target!r})
import test_pjrt_engine as tests
from trainer.engine import pjrt_engine, variables
engine = pjrt_engine.PjrtEngine(devices)
store = variables.VariableStore()
program = tests.trace(tests.graph_style_training, engine, (4,), (8,), store=store)
if engine.process_index:
    for variable in store.trainable.values():
        variable.assign(variable + 1.0)  # the first process's count
executable = engine.load(program)
num_rows = tests.GLOBAL_BATCH_SIZE // engine.num_processes
rows = slice(engine.process_index * num_rows, (engine.process_index + 1) * num_rows)
for batch in tests.batches(4, (4,), (8,)):
    outputs = program.pack_outputs(executable([tensor[rows] for tensor in batch]))
executable.write_state()
np.savez({path!r} + str(engine.process_index), outputs=outputs["per_replica"]["outputs"], **tests.values(store))
"""


def start_process(path, target, environment):
    code = PROCESS.format(tests=os.path.dirname(__file__), target=target, path=path)
    return subprocess.Popen([sys.executable, "-c", code], env=os.environ | environment)


@pytest.mark.slow
def test_two_processes_of_four_replicas_train_as_one_of_eight(tmp_path):
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        address = f"localhost:{probe.getsockname()[1]}"
    shared = {"JAX_NUM_CPU_DEVICES": "4", "JAX_COORDINATOR_ADDRESS": address, "JAX_NUM_PROCESSES": "2"}
    processes = [
        start_process(str(tmp_path / "process"), "mock:4", shared | {"JAX_PROCESS_ID": str(index)}) for index in (0, 1)
    ]
    assert [process.wait(timeout=300) for process in processes] == [0, 0]
    expected_store, expected_outputs = train(ENGINES["mock:8"]())
    for index in (0, 1):
        saved = dict(np.load(tmp_path / f"process{index}.npz"))
        outputs = saved.pop("outputs")
        assert_same_state(saved, values(expected_store))
        np.testing.assert_allclose(outputs, expected_outputs["per_replica"]["outputs"], rtol=1e-5, atol=1e-6)
