"""A classifier in the way of TensorFlow 1 and TPUEstimator: trains, evaluates, predicts, exports."""

import json
import os

import network
import tensorflow as tf
from tensorflow.contrib import summary
from tensorflow.contrib.tpu.python.tpu import tpu_config
from tensorflow.contrib.training.python.training import evaluation
from tensorflow.python.estimator import estimator as estimator_lib

flags = tf.app.flags
flags.DEFINE_string("model_dir", None, "where checkpoints go")
flags.DEFINE_string("tpu", None, "the accelerator")
flags.DEFINE_bool("use_tpu", False, "whether to use it")
flags.DEFINE_integer("train_steps", 4, "steps to train for")
flags.DEFINE_string("hparams", "", "changes of hyperparameters")
FLAGS = flags.FLAGS


def host_call_fn(global_step, loss):
    step = global_step[0]
    writer = summary.create_file_writer(os.path.join(FLAGS.model_dir, "host_call"))
    with writer.as_default(), summary.always_record_summaries():
        summary.scalar("loss_on_host", tf.reduce_mean(loss), step=step)
        return summary.all_summary_ops()


def metric_fn(labels, logits):
    return {"accuracy": tf.metrics.accuracy(labels, tf.argmax(logits, axis=1))}


def model_fn(features, labels, mode, params):
    training = mode == tf.estimator.ModeKeys.TRAIN
    logits = network.logits_of(features, params["hparams"], training)
    if mode == tf.estimator.ModeKeys.PREDICT:
        predictions = {"class": tf.argmax(logits, axis=1), "logits": logits}
        outputs = {"classify": tf.estimator.export.PredictOutput(predictions)}
        return tf.contrib.tpu.TPUEstimatorSpec(mode, predictions=predictions, export_outputs=outputs)
    loss = tf.losses.sparse_softmax_cross_entropy(labels, logits) + tf.losses.get_regularization_loss()
    if mode == tf.estimator.ModeKeys.EVAL:
        return tf.contrib.tpu.TPUEstimatorSpec(mode, loss=loss, eval_metrics=(metric_fn, [labels, logits]))
    step = tf.train.get_or_create_global_step()
    optimizer = tf.contrib.tpu.CrossShardOptimizer(tf.train.MomentumOptimizer(0.1, 0.9))
    with tf.control_dependencies(tf.get_collection(tf.GraphKeys.UPDATE_OPS)):
        train_op = optimizer.minimize(loss, step)
    return tf.contrib.tpu.TPUEstimatorSpec(
        mode,
        loss=loss,
        train_op=train_op,
        host_call=(host_call_fn, [tf.reshape(step, [1]), tf.reshape(loss, [1])]),
    )


def serving_fn():
    pixels = tf.placeholder(tf.float32, [None, 4, 4, 1])
    return tf.estimator.export.ServingInputReceiver({"pixels": pixels}, {"pixels": pixels})


def main(argv):
    del argv
    tf.logging.set_verbosity(tf.logging.INFO)
    hparams = tf.contrib.training.HParams(units=8, weight_decay=1e-4, seed=1, widths=[1, 2], fast=False)
    hparams.parse(FLAGS.hparams)
    resolver = tf.contrib.cluster_resolver.TPUClusterResolver(FLAGS.tpu if FLAGS.use_tpu else "")
    config = tpu_config.RunConfig(
        cluster=resolver,
        model_dir=FLAGS.model_dir,
        save_checkpoints_steps=2,
        session_config=tf.ConfigProto(allow_soft_placement=True),
        tpu_config=tpu_config.TPUConfig(iterations_per_loop=2),
    )
    estimator = tf.contrib.tpu.TPUEstimator(
        model_fn,
        config=config,
        use_tpu=FLAGS.use_tpu,
        train_batch_size=8,
        eval_batch_size=8,
        predict_batch_size=8,
        params={"hparams": hparams},
    )
    estimator.train(network.input_fn_of(tf.estimator.ModeKeys.TRAIN, hparams), max_steps=FLAGS.train_steps)
    checkpoints = evaluation.checkpoints_iterator(FLAGS.model_dir, timeout=0)
    evaluation_input = network.input_fn_of(tf.estimator.ModeKeys.EVAL, hparams)
    metrics = [estimator.evaluate(evaluation_input, steps=2, checkpoint_path=path) for path in checkpoints][-1]
    classes = [int(prediction["class"]) for prediction in estimator.predict(evaluation_input)]
    exported = estimator.export_savedmodel(os.path.join(FLAGS.model_dir, "export"), serving_fn)
    with tf.gfile.Open(os.path.join(FLAGS.model_dir, "result.json"), "w") as file:
        json.dump(
            {
                "step": int(estimator_lib._load_global_step_from_checkpoint_dir(FLAGS.model_dir)),
                "accuracy": float(metrics["accuracy"]),
                "classes": classes,
                "exported": tf.compat.as_text(exported),
                "hparams": hparams.values(),
            },
            file,
        )


if __name__ == "__main__":
    tf.app.run()
