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


def test_threads_that_trace_at_the_same_time_do_not_disturb_one_another():
    """A seed drawn for one replica knows nothing of the two that another thread's trace is for."""
    engine = pjrt_engine.PjrtEngine(pjrt_devices.select("mock:2"))
    meeting = threading.Barrier(2, timeout=60)
    operations = {}

    def trace(num_replicas):
        def step_fn(batch):
            meeting.wait()  # both traces are under way
            seed = keras.random.SeedGenerator(3).next()
            meeting.wait()  # neither is over
            return StepResult(replicated={"seed": seed, "batch": batch}, effects=Effects.LOOSE)

        context = engine.replica_context() if num_replicas == 2 else None
        program = step_program.trace_step(step_fn, tf.TensorSpec([1]), variables.VariableStore(), context)
        operations[num_replicas] = {one.type for one in program.concrete_function.graph.get_operations()}

    threads = [threading.Thread(target=trace, args=(num_replicas,)) for num_replicas in (1, 2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert ("XlaReplicaId" in operations[1], "XlaReplicaId" in operations[2]) == (False, True)


def test_a_resumed_run_drops_what_an_uninterrupted_one_does():
    engine = pjrt_engine.PjrtEngine(pjrt_devices.select("mock:4"))
    whole = kept_units(engine, num_steps=4)
    store = variables.VariableStore()
    halves = [kept_units(engine, num_steps=2, store=store) for _ in range(2)]
    np.testing.assert_array_equal(np.concatenate(halves), whole)
