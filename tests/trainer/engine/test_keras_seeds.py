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


def test_a_resumed_run_drops_what_an_uninterrupted_one_does():
    engine = pjrt_engine.PjrtEngine(pjrt_devices.select("mock:4"))
    whole = kept_units(engine, num_steps=4)
    store = variables.VariableStore()
    halves = [kept_units(engine, num_steps=2, store=store) for _ in range(2)]
    np.testing.assert_array_equal(np.concatenate(halves), whole)
