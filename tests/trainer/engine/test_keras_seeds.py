import threading

import keras
import numpy as np
import tensorflow as tf

from trainer.engine import pjrt_devices, pjrt_engine, step_program, variables
from trainer.engine.effects import Effects
from trainer.engine.step_program import StepResult

NUM_UNITS = 64


def kept_units(engine, num_steps, store=None):
    """Returns which units a dropout of Keras keeps, `[step, replica, unit]`."""

    def step_fn(batch):
        kept = keras.layers.Dropout(0.5, seed=3, name="dropout")(batch, training=True)
        return StepResult(per_replica={"kept": kept}, effects=Effects.LOOSE)

    keras.utils.clear_session()  # as in a new process: names begin anew
    store = store or variables.VariableStore()
    program = step_program.trace_step(step_fn, tf.TensorSpec([1, NUM_UNITS]), store, engine.replica_context())
    executable = engine.load(program)
    ones = tf.ones([engine.num_replicas, NUM_UNITS])
    kept = [np.asarray(program.pack_outputs(executable([ones]))["per_replica"]["kept"]) for _ in range(num_steps)]
    executable.write_state()
    return np.array(kept) > 0


def test_replicas_drop_different_units_at_each_step():
    kept = kept_units(pjrt_engine.PjrtEngine(pjrt_devices.select("mock:4")), num_steps=3)
    assert len({mask.tobytes() for mask in kept.reshape(-1, NUM_UNITS)}) == 3 * 4


def test_traces_of_other_threads_do_not_disturb_one_another():
    """The trace of two replicas begins while one of one replica is under way, and is over before the other's draw."""
    engine = pjrt_engine.PjrtEngine(pjrt_devices.select("mock:2"))
    steps = {2: threading.Event(), 1: threading.Event()}
    seeds = {}

    def trace(num_replicas, others):
        def step_fn(batch):
            steps[num_replicas].set()
            steps[others].wait()
            seed = keras.random.SeedGenerator(3).next()
            return StepResult(replicated={"seed": seed + tf.cast(batch[0], seed.dtype)}, effects=Effects.LOOSE)

        context = engine.replica_context() if num_replicas == 2 else None
        program = step_program.trace_step(step_fn, tf.TensorSpec([1]), variables.VariableStore(), context)
        seeds[num_replicas] = {operation.type for operation in program.concrete_function.graph.get_operations()}

    threads = [threading.Thread(target=trace, args=(count, 3 - count)) for count in (1, 2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert "XlaReplicaId" in seeds[2]
    assert "XlaReplicaId" not in seeds[1]


def test_a_resumed_run_drops_what_an_uninterrupted_one_does():
    engine = pjrt_engine.PjrtEngine(pjrt_devices.select("mock:4"))
    whole = kept_units(engine, num_steps=4)
    store = variables.VariableStore()
    halves = [kept_units(engine, num_steps=2, store=store) for _ in range(2)]
    np.testing.assert_array_equal(np.concatenate(halves), whole)
