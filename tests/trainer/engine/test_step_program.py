import numpy as np
import pytest
import tensorflow as tf
import tf_keras

from trainer.engine import step_program, tf_engine, variables
from trainer.engine.effects import Effects
from trainer.engine.step_program import StepResult

v1 = tf.compat.v1
SPEC = (tf.TensorSpec([None, 3], tf.float32), tf.TensorSpec([None], tf.float32))


@pytest.fixture(name="store")
def fixture_store():
    return variables.VariableStore()


@pytest.fixture(name="batch")
def fixture_batch():
    generator = np.random.default_rng(0)
    return [tf.constant(generator.normal(size=shape), tf.float32) for shape in ([8, 3], [8])]


def regression(make_train_op):
    """A step of linear regression with `get_variable`, as programs for TensorFlow 1 are written."""

    def step(batch):
        features, labels = batch
        weights = v1.get_variable("weights", [3], initializer=v1.zeros_initializer())
        loss = tf.reduce_mean((tf.linalg.matvec(features, weights) - labels) ** 2)
        return StepResult({"loss": loss}, targets=[make_train_op(loss)], effects=Effects.LOOSE)

    return step


def minimize(loss):
    return v1.train.GradientDescentOptimizer(0.1).minimize(loss, v1.train.get_global_step())


def run(program, batch, num_steps=1):
    executable = tf_engine.TfEngine().load(program)
    outputs = [program.pack_outputs(executable(batch))["replicated"] for _ in range(num_steps)]
    return outputs[-1] if num_steps == 1 else outputs


def test_a_tensorflow_1_step_trains(store, batch):
    program = step_program.trace_step(regression(minimize), SPEC, store)
    losses = [outputs["loss"].numpy() for outputs in run(program, batch, 5)]
    assert losses == sorted(losses, reverse=True)
    assert losses[0] == pytest.approx(float(np.mean(batch[1].numpy() ** 2)))
    assert store.global_step.numpy() == 5


def test_variables_are_found_again_at_the_next_trace(store, batch):
    first = step_program.trace_step(regression(minimize), SPEC, store)
    run(first, batch)
    again = step_program.trace_step(regression(minimize), SPEC, store)
    assert list(map(id, first.variables)) == list(map(id, again.variables))
    run(again, batch)
    assert store.global_step.numpy() == 2


def test_variables_of_the_program_are_those_the_function_captures_in_that_order(store):
    program = step_program.trace_step(regression(minimize), SPEC, store)
    assert {variable.name for variable in program.variables} == {"weights:0", "global_step:0"}
    handles = program.concrete_function.captured_inputs
    assert [variable.handle is handle for variable, handle in zip(program.variables, handles, strict=True)] == [
        True
    ] * 2


def test_a_train_op_that_was_not_asked_for_does_not_run(store, batch):
    def ignore_mode(loss):
        minimize(loss)
        return v1.train.get_global_step().assign_add(1)

    run(step_program.trace_step(regression(ignore_mode), SPEC, store), batch)
    assert store.global_step.numpy() == 1
    np.testing.assert_array_equal(store["weights"], np.zeros(3))


@pytest.mark.parametrize(("is_requested", "expected"), [(True, 1.0), (False, 0.0)])
def test_update_ops_run_on_request_only(store, is_requested, expected):
    def step(batch):
        mean = v1.get_variable("mean", [], initializer=v1.zeros_initializer(), trainable=False)
        v1.add_to_collection(v1.GraphKeys.UPDATE_OPS, mean.assign(1.0))
        targets = v1.get_collection(v1.GraphKeys.UPDATE_OPS) if is_requested else []
        return StepResult({"sum": tf.reduce_sum(batch)}, targets=targets, effects=Effects.LOOSE)

    run(step_program.trace_step(step, tf.TensorSpec([2]), store), [tf.ones([2])])
    assert store["mean"].numpy() == expected


@pytest.mark.parametrize(("effects", "expected"), [(Effects.ALL, 3.0), (Effects.LOOSE, 3.0), (Effects.REQUESTED, 0.0)])
def test_assignments_that_nobody_holds(store, effects, expected):
    def step(batch):
        total = tf.Variable(0.0, name="total")
        total.assign_add(tf.reduce_sum(batch))
        return StepResult({"unrelated": tf.constant(1)}, effects=effects)

    run(step_program.trace_step(step, tf.TensorSpec([3]), store), [tf.ones([3])])
    assert store["total"].numpy() == expected


@pytest.mark.parametrize("effects", [Effects.LOOSE, Effects.REQUESTED])
def test_assignments_that_somebody_holds_run_on_demand_alone(store, effects):
    held = []

    def step(batch):
        total = tf.Variable(0.0, name="total")
        reset = total.assign(7.0)
        held.extend([v1.assign(total, 8.0), total.assign_add(1.0, read_value=False)])
        held.append(tf.group(reset, total.assign_sub(1.0)))
        with tf.control_dependencies([total.assign_add(2.0)]):
            held.append(tf.identity(batch))
        return StepResult({"unrelated": batch + 1}, effects=effects)

    program = step_program.trace_step(step, tf.TensorSpec([]), store)
    run(program, [tf.constant(1.0)])
    assert store["total"].numpy() == 0
    program.trace.function((), (), [held[0].op])()
    assert store["total"].numpy() == 8


def test_assignments_of_keras_run_whoever_holds_them(store):
    held = []

    def step(batch):
        weight = tf.Variable(0.0, name="weight")
        tf_keras.optimizers.legacy.SGD(1.0).apply_gradients([(tf.reduce_sum(batch), weight)])
        held.append(tf_keras.metrics.Sum(name="all").update_state(batch))
        return StepResult({"unrelated": tf.constant(1)}, effects=Effects.LOOSE)

    run(step_program.trace_step(step, tf.TensorSpec([3]), store), [tf.ones([3])])
    assert store["weight"].numpy() == -3
    assert store["total"].numpy() == 3


def test_what_is_made_after_the_trace_runs_on_demand_alone(store):
    def step(batch):
        return StepResult({"sum": batch + tf.Variable(0.0, name="total")}, effects=Effects.LOOSE)

    program = step_program.trace_step(step, tf.TensorSpec([]), store)
    with program.trace.extending():
        v1.assign(store["total"], 9.0)
        v1.train.Saver()
    variant = program.trace.program({"again": program.trace.inputs[0]})
    assert run(variant, [tf.constant(1.0)])["sum"] == 1
    assert store["total"].numpy() == 0
    types = {operation.type for operation in variant.concrete_function.graph.get_operations()}
    assert "ReadVariableOp" in types
    assert not types & {"AssignVariableOp", "DisableCopyOnRead", "SaveV2", "RestoreV2"}


def test_a_saver_made_by_the_step_does_not_run_with_it(store):
    def step(batch):
        total = tf.Variable(0.0, name="total")
        v1.train.Saver()
        return StepResult({"sum": batch + total}, effects=Effects.LOOSE)

    program = step_program.trace_step(step, tf.TensorSpec([]), store)
    types = {operation.type for operation in program.concrete_function.graph.get_operations()}
    assert not types & {"AssignVariableOp", "DisableCopyOnRead", "SaveV2", "RestoreV2"}


def test_reads_and_writes_of_a_variable_keep_the_order_of_the_text(store):
    def step(batch):
        value = tf.Variable(1.0, name="value")
        before = value.read_value()
        value.assign_add(batch)
        between = value.read_value()
        value.assign(value * 10)
        return StepResult({"values": [before, between, value.read_value()]}, effects=Effects.ALL)

    outputs = run(step_program.trace_step(step, tf.TensorSpec([]), store), [tf.constant(2.0)])
    assert [value.numpy() for value in outputs["values"]] == [1, 3, 30]


def test_fetches_make_a_variant_that_runs_the_same_step(store, batch):
    program = step_program.trace_step(regression(minimize), SPEC, store)
    graph = program.trace.graph
    weights = graph.get_tensor_by_name("weights/Initializer/zeros:0")
    variant = program.trace.program({"weights": weights, "done": program.trace.result.targets[0]})
    outputs = run(variant, batch)
    np.testing.assert_array_equal(outputs["fetches"]["weights"], np.zeros(3))
    assert outputs["loss"].shape == []
    assert store.global_step.numpy() == 1


def test_a_function_without_the_batch_cannot_use_it(store):
    program = step_program.trace_step(regression(minimize), SPEC, store)
    trace = program.trace
    (step_before,) = trace.graph.get_collection("global_step_read_op_cache")
    assert [value.numpy() for value in trace.function((), [step_before])()] == [0]
    with pytest.raises(ValueError, match="has no value outside a step"):
        trace.function((), [trace.result.replicated["loss"]])


def test_outputs_keep_their_structure_and_kind(store):
    def step(batch):
        return StepResult(
            replicated={"z": tf.constant(1), "a": {"b": tf.constant(2)}},
            per_replica={"rows": (batch, tf.sparse.from_dense(batch))},
        )

    program = step_program.trace_step(step, tf.TensorSpec([2, 1]), store)
    assert program.is_per_replica == (True,) * 4 + (False,) * 2
    outputs = program.pack_outputs(tf_engine.TfEngine().load(program)([tf.ones([2, 1])]))
    assert outputs["replicated"]["a"]["b"].numpy() == 2
    assert isinstance(outputs["per_replica"]["rows"][1], tf.SparseTensor)


def test_what_a_step_returns_beside_tensors_is_handed_back(store):
    program = step_program.trace_step(lambda batch: StepResult({"x": batch}, payload="hooks"), tf.TensorSpec([]), store)
    assert program.payload == "hooks"


def test_a_program_compiles_with_the_variables_in_the_same_order(store):
    program = step_program.trace_step(regression(minimize), (tf.TensorSpec([8, 3]), tf.TensorSpec([8])), store)
    compiled = tf.function(program.concrete_function, jit_compile=True, input_signature=program.batch_specs)
    handles = compiled.get_concrete_function().captured_inputs
    assert [variable.handle is handle for variable, handle in zip(program.variables, handles, strict=True)] == [
        True
    ] * 2
    text = compiled.experimental_get_compiler_ir(*program.batch_specs)(stage="stablehlo")
    assert "stablehlo" in str(text)


def test_the_seed_decides_initial_values_and_the_first_random_numbers(batch):
    def step(batch):
        weights = v1.get_variable("weights", [3])
        noise = tf.random.uniform([2])
        return StepResult({"weights": weights, "noise": noise, "sum": tf.reduce_sum(batch[0])})

    def first_outputs(seed):
        return run(step_program.trace_step(step, SPEC, variables.VariableStore(), seed=seed), batch)

    outputs = [first_outputs(seed) for seed in (1, 1, 2)]
    for name in ("weights", "noise"):
        np.testing.assert_array_equal(outputs[0][name], outputs[1][name])
        assert np.all(outputs[0][name].numpy() != outputs[2][name].numpy())


def test_a_gradient_may_give_an_older_loop_further_inputs(store):
    def step(batch):
        factor = v1.get_variable("factor", [], initializer=v1.constant_initializer(2.0))
        _, power = tf.while_loop(lambda i, value: i < 3, lambda i, value: (i + 1, value * factor), (0, 1.0))
        return StepResult({"gradient": tf.gradients(power, factor)[0]})

    program = step_program.trace_step(step, (), store)
    outputs = program.pack_outputs(program.concrete_function())
    assert outputs["replicated"]["gradient"].numpy() == 12
