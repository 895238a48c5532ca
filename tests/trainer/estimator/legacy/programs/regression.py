"""A regression in the way of TensorFlow 2: Keras in a model_fn, `tf.estimator`, paths inside its package."""

import argparse
import json

import numpy as np
import tensorflow as tf
import tensorflow.compat.v1 as tf1
import tensorflow.compat.v2 as tf2
from tensorflow.compat.v1 import estimator as estimator_v1
from tensorflow.keras import layers
from tensorflow_estimator.python.estimator.tpu import tpu_estimator


def model_fn(features, labels, mode):
    outputs = tf.keras.Sequential([layers.Dense(4, activation="relu"), layers.Dense(1)])(features)
    loss = None if labels is None else tf.reduce_mean(tf.square(outputs[:, 0] - labels))
    if mode == tf.estimator.ModeKeys.PREDICT:
        return tf.estimator.EstimatorSpec(mode, predictions={"value": outputs[:, 0]})
    optimizer = tf1.train.GradientDescentOptimizer(0.05)
    train_op = optimizer.minimize(loss, tf1.train.get_global_step())
    return tf.estimator.EstimatorSpec(
        mode, loss=loss, train_op=train_op, eval_metric_ops={"mean_label": tf1.metrics.mean(labels)}
    )


def input_fn():
    features = np.linspace(0, 1, 16, dtype=np.float32)[:, None]
    return tf.data.Dataset.from_tensor_slices((features, features[:, 0])).repeat().batch(4)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--model_dir")
    arguments = parser.parse_args()
    config = tf.estimator.RunConfig(model_dir=arguments.model_dir, save_checkpoints_steps=4)
    estimator = tf.estimator.Estimator(model_fn, config=config)
    metrics, _ = tf.estimator.train_and_evaluate(
        estimator, tf.estimator.TrainSpec(input_fn, max_steps=8), tf.estimator.EvalSpec(input_fn, steps=4)
    )
    with open(arguments.model_dir + "/result.json", "w") as file:
        json.dump(
            {
                "step": int(metrics["global_step"]),
                "mean_label": float(metrics["mean_label"]),
                "is_keras_2": tf.keras.layers.Dense is layers.Dense and not hasattr(tf.keras, "ops"),
                "executes_eagerly": tf.executing_eagerly(),
                "has_two_versions": hasattr(tf1, "placeholder") and not hasattr(tf2, "placeholder"),
                "one_estimator": estimator_v1.tpu.TPUEstimator is tpu_estimator.TPUEstimator,
            },
            file,
        )
