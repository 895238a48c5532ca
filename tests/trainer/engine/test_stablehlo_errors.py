import re

import pytest
import tensorflow as tf

from trainer.engine import pjrt_engine, step_program, variables
from trainer.engine.step_program import StepResult
from trainer.errors import UserError


def lookup_table():
    return tf.lookup.StaticHashTable(tf.lookup.KeyValueTensorInitializer([1], [2.0], tf.int32), 0.0)


# Each is a line that cannot run on a TPU, and part of what the error says of it.
OFFENDERS = {
    "string": (lambda x: tf.strings.to_number(tf.strings.as_string(x)), r"AsString.*strings stay on the host"),
    "python": (lambda x: tf.numpy_function(lambda y: y, [x], tf.float32), r"PyFunc.*Python code cannot run"),
    "print": (lambda x: tf.strings.length(tf.strings.format("{}", x)), r"StringFormat.*tf\.print does not run"),
    "data-dependent result": (lambda x: tf.boolean_mask(x, x > 0), r"its shape depends on the data.*weigh"),
    "data-dependent inside": (lambda x: tf.reduce_sum(tf.unique(x)[0]), r"its shape depends on the data.*weigh"),
    "data-dependent shape": (lambda x: tf.zeros([tf.cast(x[0], tf.int32)]), r"a shape or axis of Fill.*depends"),
    "lookup table": (lambda x: lookup_table().lookup(tf.cast(x, tf.int32)), r"lookup tables .*not on the device"),
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
    line = function.__code__.co_firstlineno
    assert re.match(rf"{re.escape(__file__)}:{line} \(", str(raised.value))
    assert "head/" in str(raised.value)


def test_an_error_of_another_kind_is_shown_in_one_line():
    program = step_program.trace_step(
        lambda batch: StepResult(per_replica={"outputs": batch}), tf.TensorSpec([None]), variables.VariableStore()
    )
    with pytest.raises(UserError, match="cannot be lowered for XLA: Only support static input shape") as raised:
        pjrt_engine.lower(program)
    assert "\n" not in str(raised.value)
