import numpy as np
import pytest
import tensorflow as tf

from trainer.engine import step_program, variables
from trainer.engine.step_program import StepResult

v1 = tf.compat.v1


@pytest.fixture(name="store")
def fixture_store():
    return variables.VariableStore()


def trace(store, build):
    """Traces a step that only builds something; returns what it built."""

    def step(batch):
        return StepResult({"batch": batch}, payload=build())

    return step_program.trace_step(step, tf.TensorSpec([2, 3]), store).payload


def test_names_are_those_of_tensorflow_1(store):
    def build():
        with v1.variable_scope("block"):
            kernel = v1.get_variable("kernel", [3, 2])
        tf.Variable(1.0, name="scale")
        tf.Variable(2.0, name="scale")
        loss = tf.reduce_sum(kernel**2)
        optimizer = v1.train.MomentumOptimizer(0.1, 0.9)
        average = v1.train.ExponentialMovingAverage(0.9)
        optimizer.minimize(loss, var_list=[kernel])
        average.apply([kernel])

    for _ in range(2):
        trace(store, build)
    assert list(store.saved) == [
        "global_step",
        "block/kernel",
        "scale",
        "scale_1",
        "block/kernel/Momentum",
        "block/kernel/ExponentialMovingAverage",
    ]
    assert [store[name].numpy() for name in ("scale", "scale_1")] == [1, 2]


def test_an_average_starts_at_the_value_of_its_variable(store):
    def build():
        kernel = v1.get_variable("kernel", [3, 2])
        v1.train.ExponentialMovingAverage(0.9).apply([kernel])

    trace(store, build)
    np.testing.assert_array_equal(store["kernel"], store["kernel/ExponentialMovingAverage"])


def test_collections_list_variables_at_each_trace(store):
    def build():
        v1.get_variable("weights", [1])
        v1.get_variable("mean", [1], trainable=False)
        return [variable.op.name for variable in v1.trainable_variables()], len(v1.global_variables())

    for _ in range(2):
        assert trace(store, build) == (["weights"], 3)
    assert list(store.trainable) == ["weights"]


def test_the_global_step_is_there_in_every_trace(store):
    assert trace(store, v1.train.get_global_step) is store.global_step
    assert trace(store, v1.train.get_or_create_global_step) is store.global_step


def test_local_variables_are_not_saved_and_start_afresh(store):
    trace(store, lambda: v1.metrics.mean(tf.constant(2.0), name="m"))
    assert list(store.saved) == ["global_step"]
    store["m/total"].assign(7.0)
    store.reset_local()
    assert store["m/total"].numpy() == 0


def test_variables_can_be_declared_local_later(store):
    trace(store, lambda: tf.Variable(3.0, name="count"))
    store.mark_local([store["count"]])
    assert "count" not in store.saved
    store["count"].assign(5.0)
    store.reset_local()
    assert store["count"].numpy() == 3


def test_a_name_has_one_shape(store):
    trace(store, lambda: v1.get_variable("weights", [2]))
    with pytest.raises(
        ValueError, match=r"'weights' was created with shape \(2,\) and is now asked for with shape \(3,\)"
    ):
        trace(store, lambda: v1.get_variable("weights", [3]))


def test_a_variable_made_in_a_loop_belongs_to_the_model(store):
    def build():
        def body(index, total):
            return index + 1, total + v1.get_variable("step_size", [], initializer=v1.ones_initializer())

        return tf.while_loop(lambda index, total: index < 3, body, [0, 0.0])

    trace(store, build)
    assert store["step_size"].numpy() == 1


def test_init_from_checkpoint_sets_the_first_value(store, tmp_path):
    donor = variables.VariableStore()
    trace(donor, lambda: v1.get_variable("old/weights", [2], initializer=v1.ones_initializer()))
    prefix = str(tmp_path / "donor")
    tf.raw_ops.SaveV2(
        prefix=prefix, tensor_names=["old/weights"], shape_and_slices=[""], tensors=[donor["old/weights"]]
    )

    def build():
        with v1.variable_scope("new"):
            v1.get_variable("weights", [2], initializer=v1.zeros_initializer())
        v1.train.init_from_checkpoint(prefix, {"old/": "new/"})

    trace(store, build)
    np.testing.assert_array_equal(store["new/weights"], [1, 1])
    store["new/weights"].assign([5, 5])
    trace(store, build)
    np.testing.assert_array_equal(store["new/weights"], [5, 5])


def test_a_variable_from_outside_is_adopted_under_its_name(store):
    outside = tf.Variable(4.0, name="outside")
    trace(store, lambda: outside * 2)
    assert store["outside"] is outside
    with pytest.raises(ValueError, match="two variables are named 'outside'"):
        store.adopt([tf.Variable(1.0, name="outside")])


def test_modules_may_be_built_anew_at_each_trace(store):
    class Dense(tf.Module):
        def __call__(self, inputs):
            kernel = tf.Variable(tf.random.normal([3, 2]), name="kernel")
            return inputs @ kernel

    for _ in range(2):
        trace(store, lambda: Dense()(tf.ones([1, 3])))
    assert list(store.saved) == ["global_step", "kernel"]
