import pytest
import tensorflow as tf

from trainer.engine.spec import TPUEstimatorSpec
from trainer.preflight.compiler import TpuCompiler
from trainer.preflight.preflight import Workload
from trainer.preflight.training_step import TrainingStep


def graph_style_model_fn(features, labels, mode, params):
    """A program of TensorFlow 1's time; `params["offender"]` adds an operation that does not run on TPUs."""
    with tf.compat.v1.variable_scope("hidden"):
        kernel = tf.compat.v1.get_variable("kernel", [512, params["width"]])
        hidden = tf.nn.relu(features["vector"] @ kernel)
    with tf.compat.v1.variable_scope("head"):
        logits = hidden @ tf.compat.v1.get_variable("kernel", [params["width"], 10])
    loss = tf.compat.v1.losses.sparse_softmax_cross_entropy(labels, logits)
    if params.get("offender"):
        loss += tf.strings.to_number(tf.strings.as_string(loss))
    optimizer = tf.compat.v1.tpu.CrossShardOptimizer(tf.compat.v1.train.MomentumOptimizer(0.1, 0.9))
    train_op = optimizer.minimize(loss, global_step=tf.compat.v1.train.get_global_step())
    return TPUEstimatorSpec(mode, loss=loss, train_op=train_op)


@pytest.fixture
def training_step():
    return TrainingStep(
        model_fn=graph_style_model_fn,
        features={"vector": tf.TensorSpec([None, 512])},
        labels=tf.TensorSpec([None], tf.int32),
        params={"width": 256},
    )


@pytest.fixture
def workload(training_step):
    return Workload("small", training_step, global_batch_size=64, num_examples=1_000_000)


@pytest.fixture(scope="session")
def tpu_compiler(tmp_path_factory):
    """Remembers compilations for the length of the test session."""
    return TpuCompiler(tmp_path_factory.mktemp("preflight_cache"))
