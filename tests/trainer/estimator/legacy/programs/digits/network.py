"""The model_fn of a program that is a package: a recurrent network over the rows of a digit."""

import tensorflow as tf
from tensorflow.contrib import layers, metrics, rnn
from tensorflow.contrib.framework import add_arg_scope, arg_scope

NUM_CLASSES = 10


@add_arg_scope
def cell(size, kind="lstm"):
    return {"lstm": rnn.BasicLSTMCell, "gru": rnn.GRUCell}[kind](size)


def logits_of(images, params):
    rows = tf.unstack(tf.squeeze(images, -1), axis=1)
    with arg_scope([cell], kind=params["cell"]):
        outputs, _ = rnn.static_rnn(cell(params["units"]), rows, dtype=tf.float32)
    return tf.layers.dense(outputs[-1], NUM_CLASSES)


def model_fn(features, labels, mode, params, config):
    logits = logits_of(features["image"], params)
    probabilities = tf.nn.softmax(logits)
    if mode == tf.estimator.ModeKeys.PREDICT:
        outputs = {"probabilities": tf.estimator.export.PredictOutput({"probabilities": probabilities})}
        return tf.estimator.EstimatorSpec(mode, {"probabilities": probabilities}, export_outputs=outputs)
    loss = tf.reduce_mean(tf.nn.softmax_cross_entropy_with_logits_v2(logits=logits, labels=labels))
    if mode == tf.estimator.ModeKeys.EVAL:
        found = {
            "accuracy": metrics.streaming_accuracy(tf.argmax(probabilities, 1), tf.argmax(labels, 1)),
            "correlation": metrics.streaming_pearson_correlation(probabilities, labels),
        }
        return tf.estimator.EstimatorSpec(mode, loss=loss, eval_metric_ops=found)
    write_confidence(tf.reduce_mean(tf.reduce_max(probabilities, 1)), config.model_dir)
    train_op = layers.optimize_loss(
        loss,
        tf.train.get_global_step(),
        learning_rate=params["learning_rate"],
        optimizer="Adam",
        clip_gradients=1.0,
        update_ops=tf.summary.all_v2_summary_ops(),
    )
    scaffold = tf.train.Scaffold(init_op=tf.group(tf.global_variables_initializer(), tf.local_variables_initializer()))
    return tf.estimator.EstimatorSpec(mode, loss=loss, train_op=train_op, scaffold=scaffold)


def write_confidence(confidence, model_dir):
    """Writes at every second step, with a writer of its own."""
    step = tf.train.get_global_step()
    writer = tf.compat.v2.summary.create_file_writer(model_dir + "/confidence")
    is_due = tf.compat.v2.summary.record_if(tf.equal(step % 2, 0))
    with tf.control_dependencies([writer.init()]), writer.as_default(), is_due:
        tf.compat.v2.summary.scalar("confidence", confidence, step=step)
