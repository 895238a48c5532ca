import numpy as np
import tensorflow as tf

from trainer.engine import step_program, variables
from trainer.engine.effects import Effects
from trainer.engine.step_program import StepResult
from trainer.nn import ema
from trainer.nn.ema import MovingAverages
from trainer.nn.layers import Dense, ForwardPass
from trainer.nn.random_key import RandomKey

INPUTS = tf.ones([1, 2])


def training_step(batch):
    layer = Dense(2, name="dense")
    layer(batch, ForwardPass(is_training=True, key=RandomKey(0)))
    (kernel,) = (variable for variable in layer.variables if "kernel" in variable.name)
    step = tf.compat.v1.train.get_global_step()
    kernel.assign_add(tf.ones_like(kernel))
    MovingAverages(decay=0.5).update(layer.variables, step.read_value())
    return StepResult(targets=[step.assign_add(1).op], effects=Effects.LOOSE)


def evaluation_step(batch):
    with ema.reading_averages():
        outputs = Dense(2, name="dense")(batch, ForwardPass(is_training=False, key=RandomKey(0)))
    return StepResult(per_replica={"outputs": outputs})


def test_averages_follow_the_weights_and_evaluation_reads_them():
    store = variables.VariableStore()
    train = step_program.trace_step(training_step, tf.TensorSpec([1, 2]), store)
    evaluate = step_program.trace_step(evaluation_step, tf.TensorSpec([1, 2]), store)
    average = None
    for step in range(12):
        train.concrete_function(INPUTS)
        decay = min(0.5, step / (9 + step))
        kernel = store["dense/kernel"].numpy()
        average = kernel if average is None else decay * average + (1 - decay) * kernel
    np.testing.assert_allclose(store["dense/kernel/ExponentialMovingAverage"], average, rtol=1e-6)
    (outputs,) = evaluate.concrete_function(INPUTS)
    np.testing.assert_allclose(outputs, INPUTS.numpy() @ average, rtol=1e-6)


def test_evaluation_holds_the_averages_alone():
    store = variables.VariableStore()
    step_program.trace_step(evaluation_step, tf.TensorSpec([1, 2]), store)
    assert sorted(store.saved) == [
        "dense/bias/ExponentialMovingAverage",
        "dense/kernel/ExponentialMovingAverage",
        "global_step",
    ]
