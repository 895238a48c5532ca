import re

import pytest
import tensorflow as tf
from tensorflow.python.framework import function

from trainer.engine import pjrt_engine, step_program, variables
from trainer.engine.step_program import StepResult
from trainer.errors import UserError


def lookup_table():
    return tf.lookup.StaticHashTable(tf.lookup.KeyValueTensorInitializer([1], [2.0], tf.int32), 0.0)


def growing_array():
    return tf.TensorArray(tf.float32, 0, dynamic_size=True)


# Each is a line that cannot run on a TPU, and part of what the error says of it.
OFFENDERS = {
    "string": (lambda x: tf.strings.to_number(tf.strings.as_string(x)), r"AsString.*strings stay on the host"),
    "python": (lambda x: tf.numpy_function(lambda y: y, [x], tf.float32), r"PyFunc.*Python code cannot run"),
    "print": (lambda x: tf.strings.length(tf.strings.format("{}", x)), r"StringFormat.*tf\.print does not run"),
    "data-dependent result": (lambda x: tf.boolean_mask(x, x > 0), r"its shape depends on the data.*weigh"),
    "data-dependent inside": (lambda x: tf.reduce_sum(tf.unique(x)[0]), r"its shape depends on the data.*weigh"),
    "gradient of a data-dependent result": (
        lambda x: tf.gradients(x * tf.reduce_mean(tf.boolean_mask(x, x > 0)), x)[0],
        r"its shape depends on the data.*weigh",
    ),
    "parts": (
        lambda x: tf.dynamic_stitch([tf.dynamic_partition(tf.range(4), tf.cast(x, tf.int32), 2)[0]], [x]),
        r"DynamicStitch cannot be lowered.*weigh",
    ),
    "data-dependent shape": (lambda x: tf.zeros([tf.cast(x[0], tf.int32)]), r"a shape or axis of Fill.*depends"),
    "lookup table": (lambda x: lookup_table().lookup(tf.cast(x, tf.int32)), r"lookup tables .*not on the device"),
    "python in a loop": (
        lambda x: tf.map_fn(lambda y: tf.numpy_function(lambda z: z, [y], tf.float32), x),
        r"PyFunc.*Python code cannot run",
    ),
    "loop without a bound": (
        lambda x: tf.gradients(tf.while_loop(lambda y: y[0] < 9.0, lambda y: (y * x,), [x]), x)[0],
        r"no known size.*maximum_iterations",
    ),
    "loop of a list that grows": (
        lambda x: tf.while_loop(
            lambda rows, i: i < 4, lambda rows, i: (rows.write(i, x), i + 1), [growing_array(), 0], maximum_iterations=4
        )[0].stack(),
        r"dynamic_size=True \(.*TensorListSetItem\) does not grow.*leave dynamic_size out",
    ),
    "list that grows": (lambda x: growing_array().write(0, x).stack(), r"dynamic_size=True .*leave dynamic_size out"),
    "branches of different shapes": (
        lambda x: tf.reduce_sum(tf.cond(x[0] > 0, lambda: x[:2], lambda: x)),
        r"its shape depends on the data \(head/cond\)",
    ),
    "lookup table in a loop": (
        lambda x: tf.map_fn(lookup_table().lookup, tf.cast(x, tf.int32), fn_output_signature=tf.float32),
        r"lookup tables, .*not on the device; read or look the values up in input_fn",
    ),
    "queue": (
        lambda x: x * tf.cast(tf.compat.v1.FIFOQueue(1, tf.float32).size(), tf.float32),
        r"queues .*not on the device",
    ),
    "table that is written": (
        lambda x: tf.lookup.experimental.MutableHashTable(tf.int32, tf.float32, 0.0).lookup(tf.cast(x, tf.int32)),
        r"MutableHashTableV2.*look the values up in input_fn",
    ),
    "counts": (lambda x: tf.math.bincount(tf.cast(x, tf.int32)), r"DenseBincount .*count by tf\.reduce_sum"),
    "exchange among replicas": (
        lambda x: tf.raw_ops.CollectivePermute(input=x, source_target_pairs=[[0, 0]]),
        r"CollectivePermute .*is not supported: .*use tf\.compat\.v1\.tpu\.cross_replica_sum",
    ),
    "text": (lambda x: tf.fill([4], "text"), r"a result of the step is text .*strings stay on the host"),
    "random": (lambda x: tf.random.gamma([4], x[0], seed=1), r"StatelessRandomGamma.*use another operation"),
    "sorted segments": (lambda x: tf.math.segment_sum(x, tf.range(4)), r"SegmentSum .*unsorted_segment_sum"),
    "padding": (
        lambda x: tf.nn.max_pool2d(tf.reshape(x, [1, 2, 2, 1]), 2, 1, [[0, 0], [1, 1], [1, 1], [0, 0]]),
        r"MaxPool2d cannot be lowered for XLA: XLA does not support pooling ops with explicit padding; use another",
    ),
    "no lowering": (lambda x: tf.linalg.lu(tf.reshape(x, [2, 2]))[0], r"Lu .*use another operation"),
}


@pytest.mark.parametrize("offender", OFFENDERS)
def test_the_error_names_operation_line_and_remedy(offender):
    function, message = OFFENDERS[offender]

    def step_fn(batch):
        with tf.name_scope("head"):
            return StepResult(per_replica={"outputs": function(batch * 2.0)})

    program = step_program.trace_step(step_fn, tf.TensorSpec([4]), variables.VariableStore())
    with pytest.raises(UserError, match=message) as raised:
        pjrt_engine.lower(program)
    first_line = function.__code__.co_firstlineno
    assert re.match(rf"{re.escape(__file__)}:({first_line}|{first_line + 1}) \(", str(raised.value))
    assert "head/" in str(raised.value)


def test_an_operation_of_a_gradient_is_told_by_the_line_that_it_is_the_gradient_of():
    def step_fn(batch):
        rows = tf.TensorArray(tf.float32, 4).unstack(batch)
        gathered = rows.gather([0, 2])  # the offender
        return StepResult(per_replica={"gradient": tf.gradients(gathered, batch)[0]})

    program = step_program.trace_step(step_fn, tf.TensorSpec([4]), variables.VariableStore())
    with pytest.raises(UserError, match=r"gather\(\[0, 2\]\)  # the offender\): .*gradients/"):
        pjrt_engine.lower(program)


def test_the_gradient_of_a_loop_inside_a_branch_is_told_by_the_line_of_the_branch():
    def step_fn(batch):
        loop = lambda: tf.while_loop(lambda x: x[0] < 9.0, lambda x: (x * batch,), [batch], maximum_iterations=3)[0]  # noqa: E731
        outputs = tf.cond(batch[0] > 0.0, loop, lambda: batch)  # the branch
        return StepResult(per_replica={"gradient": tf.gradients(outputs, batch)[0]})

    context = pjrt_engine.replica_context(num_replicas=1)
    program = step_program.trace_step(step_fn, tf.TensorSpec([4]), variables.VariableStore(), context)
    with pytest.raises(UserError, match=r"# the branch\): a loop inside a branch .*has no gradient.*tf\.where"):
        pjrt_engine.lower(program)


class Saved(tf.Module):
    @tf.function(input_signature=[tf.TensorSpec([4])])
    def mask(self, values):
        return tf.boolean_mask(values, values > 0)

    @tf.function(input_signature=[tf.TensorSpec([4])])
    def length(self, values):
        return tf.strings.length(tf.strings.as_string(values))


def saved_functions(directory):
    tf.saved_model.save(Saved(), directory)
    return tf.saved_model.load(directory)


def saved_mask(directory):
    return saved_functions(directory).mask


def imported_graph(directory):
    with tf.Graph().as_default() as graph:
        values = tf.compat.v1.placeholder(tf.float32, [4], name="values")
        tf.boolean_mask(values, values > 0, name="masked")
    (name,) = {operation.outputs[0].name for operation in graph.get_operations() if "GatherV2" in operation.type}
    return lambda batch: tf.graph_util.import_graph_def(graph.as_graph_def(), {"values": batch}, [name])[0]


def function_of_tensorflow_1(directory):
    @function.Defun(tf.float32)
    def mask(values):
        return tf.where(values > 0)

    return mask


@pytest.mark.parametrize("make", [saved_mask, imported_graph, function_of_tensorflow_1])
def test_an_operation_that_no_line_of_the_model_made_is_told_all_the_same(tmp_path, make):
    mask = make(str(tmp_path))
    step_fn = lambda batch: StepResult(per_replica={"outputs": mask(batch)})  # noqa: E731
    program = step_program.trace_step(step_fn, tf.TensorSpec([4]), variables.VariableStore())
    with pytest.raises(UserError, match="its shape depends on the data"):
        pjrt_engine.lower(program)


def test_an_operation_of_a_saved_function_is_told_with_its_remedy(tmp_path):
    saved = saved_functions(str(tmp_path))
    step_fn = lambda batch: StepResult(per_replica={"outputs": saved.length(batch)})  # noqa: E731
    program = step_program.trace_step(step_fn, tf.TensorSpec([4]), variables.VariableStore())
    with pytest.raises(UserError, match=r"AsString \(AsString\) does not run.*strings stay on the host"):
        pjrt_engine.lower(program)


def test_an_error_of_another_kind_is_shown_in_one_line():
    program = step_program.trace_step(
        lambda batch: StepResult(per_replica={"outputs": batch}), tf.TensorSpec([None]), variables.VariableStore()
    )
    with pytest.raises(UserError, match="cannot be lowered for XLA: Only support static input shape") as raised:
        pjrt_engine.lower(program)
    assert "\n" not in str(raised.value)
