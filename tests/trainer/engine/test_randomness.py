import threading

import numpy as np
import pytest
import tensorflow as tf

from trainer import replica
from trainer.engine import step_program, tf_engine, variables
from trainer.engine.step_program import StepResult

v1 = tf.compat.v1
NUM_STEPS = 4
DRAWS = {
    "uniform": lambda: tf.random.uniform([3, 5]),
    "normal": lambda: tf.random.normal([7], seed=5),
    "truncated_normal": lambda: tf.random.truncated_normal([300], dtype=tf.float64),
    "uniform_int": lambda: tf.random.uniform([9], 2, 1000, tf.int32),
    "dropout": lambda: tf.nn.dropout(tf.ones([20]), rate=0.5),
}

# Keyed by the step, but with other numbers than TensorFlow 1's.
OTHER_DRAWS = {
    "shuffle": lambda: tf.random.shuffle(tf.range(50)),
    "multinomial": lambda: v1.multinomial(tf.zeros([2, 1000]), 20),
    "categorical": lambda: tf.random.categorical(tf.zeros([2, 1000]), 20, dtype=tf.int32, seed=4),
    "gamma": lambda: tf.random.gamma([500], [0.5, 3.0]),
    "poisson": lambda: tf.random.poisson([20], [50.0, 90.0]),
}


def in_a_loop(draw):
    """Returns a function that draws twice, in a loop within a branch."""

    def draw_in_loop():
        values = tf.TensorArray(tf.float32, 2)
        return tf.while_loop(lambda i, _: i < 2, lambda i, values: (i + 1, values.write(i, draw())), (0, values))[
            1
        ].stack()

    return lambda: tf.cond(
        tf.constant(1) + v1.get_variable("zero", [], tf.int32, v1.zeros_initializer()) > 0,
        draw_in_loop,
        lambda: tf.zeros([2, 5]),
    )


LOOPS = {
    "uniform": in_a_loop(lambda: tf.random.uniform([5])),
    "normal": in_a_loop(lambda: tf.random.normal([5], seed=5)),
    "truncated_normal": in_a_loop(lambda: tf.random.truncated_normal([5])),
    "uniform_int": in_a_loop(lambda: tf.cast(tf.random.uniform([5], 0, 1000, tf.int32), tf.float32)),
    "dropout": in_a_loop(lambda: tf.nn.dropout(tf.ones([5]) + tf.random.uniform([5]), rate=0.1)),
    "shuffle": in_a_loop(lambda: tf.random.shuffle(tf.range(5.0)) + 10 * tf.random.uniform([])),
    "categorical": in_a_loop(lambda: tf.cast(tf.random.categorical(tf.zeros([1, 1000]), 5)[0], tf.float32)),
    "gamma": in_a_loop(lambda: tf.random.gamma([5], 2.0)),
    "poisson": in_a_loop(lambda: tf.random.poisson([5], 1e5)),
    "nested": in_a_loop(lambda: tf.map_fn(lambda _: tf.random.uniform([]), tf.range(5.0))),
}


def drawn_by_tensorflow_1(draw, seed):
    with tf.Graph().as_default(), v1.Session() as session:
        v1.set_random_seed(seed)
        values = draw()
        return [session.run(values) for _ in range(NUM_STEPS)]


def drawn_here(draw, seed, first_step=0, num_steps=NUM_STEPS):
    def step(batch):
        values = draw()
        increment = v1.train.get_global_step().assign_add(1)
        return StepResult({"values": values}, targets=[increment])

    store = variables.VariableStore()
    store.global_step.assign(first_step)
    program = step_program.trace_step(step, (), store, seed=seed)
    executable = tf_engine.TfEngine().load(program)
    return [program.pack_outputs(executable(()))["replicated"]["values"].numpy() for _ in range(num_steps)]


@pytest.mark.parametrize("name", DRAWS)
def test_the_numbers_are_those_of_tensorflow_1(name):
    np.testing.assert_array_equal(drawn_here(DRAWS[name], 3), drawn_by_tensorflow_1(DRAWS[name], 3))


@pytest.mark.parametrize("name", OTHER_DRAWS)
def test_shuffles_and_other_distributions_follow_the_step(name):
    drawn = drawn_here(OTHER_DRAWS[name], 3)
    np.testing.assert_array_equal(drawn_here(OTHER_DRAWS[name], 3, first_step=2, num_steps=2), drawn[2:])
    by_tensorflow_1 = drawn_by_tensorflow_1(OTHER_DRAWS[name], 3)
    assert drawn[0].shape == by_tensorflow_1[0].shape
    assert drawn[0].dtype == by_tensorflow_1[0].dtype
    assert len({values.tobytes() for values in drawn}) == NUM_STEPS
    assert np.mean(drawn) == pytest.approx(np.mean(by_tensorflow_1), rel=0.3)


@pytest.mark.parametrize("name", DRAWS)
def test_a_resumed_run_draws_what_an_uninterrupted_one_would(name):
    resumed = drawn_here(DRAWS[name], 3, first_step=2, num_steps=2)
    np.testing.assert_array_equal(resumed, drawn_here(DRAWS[name], 3)[2:])


@pytest.mark.parametrize("name", LOOPS)
def test_loops_and_branches_draw_by_step_and_turn(name):
    drawn = drawn_here(LOOPS[name], 3)
    np.testing.assert_array_equal(drawn_here(LOOPS[name], 3, first_step=2, num_steps=2), drawn[2:])
    values = np.array(drawn)
    assert len(np.unique(values)) > 0.8 * values.size
    assert (drawn_here(LOOPS[name], 4)[0] != drawn[0]).any()


def two_loops(seed=None):
    draw = lambda _: tf.nn.dropout(tf.ones([16]), rate=0.5, seed=seed)  # noqa: E731
    return lambda: tf.stack([tf.map_fn(draw, tf.zeros([3])) for _ in range(2)])


def two_branches_and_none():
    condition = v1.get_variable("zero", [], tf.int32, v1.zeros_initializer()) < 1
    branches = [tf.cond(condition, lambda: tf.random.uniform([4]), lambda: tf.zeros([4])) for _ in range(2)]
    return tf.stack([*branches, tf.random.uniform([4])])


@pytest.mark.parametrize("draw", [two_loops(), two_branches_and_none], ids=["loops", "branches"])
def test_loops_and_branches_of_the_same_form_draw_different_numbers(draw):
    drawn = drawn_here(draw, 3)
    for values in drawn:
        assert len({part.tobytes() for part in values}) == len(values)
    np.testing.assert_array_equal(drawn_here(draw, 3, first_step=2, num_steps=2), drawn[2:])


def test_operations_of_the_same_seed_draw_the_same_numbers_in_each_loop():
    np.testing.assert_array_equal(*drawn_here(two_loops(seed=7), 3)[0])


def test_a_gradient_sees_the_numbers_that_the_loop_drew():
    def step(batch):
        factor = v1.get_variable("factor", [], initializer=v1.ones_initializer())
        drawn = LOOPS["uniform"]()
        _, total = tf.while_loop(
            lambda i, _: i < 3, lambda i, total: (i + 1, total + factor * tf.random.uniform([])), (0, 0.0)
        )
        return StepResult({"total": total, "gradient": tf.gradients(total, factor)[0], "drawn": drawn})

    program = step_program.trace_step(step, (), variables.VariableStore(), seed=3)
    outputs = program.pack_outputs(program.concrete_function())["replicated"]
    assert outputs["gradient"].numpy() == pytest.approx(outputs["total"].numpy())
    assert outputs["gradient"].numpy() > 0


def test_a_loop_without_a_seed_differs_from_run_to_run():
    assert (drawn_here(LOOPS["uniform"], None)[0] != drawn_here(LOOPS["uniform"], None)[0]).any()


def test_a_trace_that_another_thread_ends_meanwhile_changes_no_numbers():
    """What the first trace puts in place of TensorFlow's functions goes when it ends, and the second's with it."""
    is_first_under_way, is_second_under_way, is_first_over = (threading.Event() for _ in range(3))
    drawn = []

    def first():
        is_first_under_way.set()
        is_second_under_way.wait(timeout=0.5)  # in vain, where the second waits for the first
        return DRAWS["uniform"]()

    def second():
        is_second_under_way.set()
        is_first_over.wait(timeout=60)
        return LOOPS["uniform"]()

    def trace_second():
        is_first_under_way.wait(timeout=60)
        drawn.append(drawn_here(second, seed=3))

    thread = threading.Thread(target=trace_second)
    thread.start()
    drawn_here(first, seed=3)
    is_first_over.set()
    thread.join()
    np.testing.assert_array_equal(drawn[0], drawn_here(LOOPS["uniform"], seed=3))


def test_replicas_draw_different_numbers():
    def drawn_by(replica_id):
        context = replica.ReplicaContext(num_replicas=2, replica_id=lambda: tf.constant(replica_id))
        step = lambda batch: StepResult({"values": tf.random.uniform([8])})  # noqa: E731
        program = step_program.trace_step(step, (), variables.VariableStore(), context, seed=3)
        return program.pack_outputs(tf_engine.TfEngine().load(program)(()))["replicated"]["values"].numpy()

    assert (drawn_by(0) != drawn_by(1)).all()
    np.testing.assert_array_equal(drawn_by(0), drawn_here(lambda: tf.random.uniform([8]), 3)[0])


def test_without_a_seed_numbers_differ_from_run_to_run():
    draw = DRAWS["uniform"]
    assert (drawn_here(draw, None)[0] != drawn_here(draw, None)[0]).any()
