"""A program that is a package, as jobs in the cloud were: `python -m digits.task`."""

import argparse
import json
import os

import tensorflow as tf
from tensorflow.examples.tutorials.mnist import input_data

from digits import network

from . import network as the_same


def serving_input_fn():
    image = tf.placeholder(tf.float32, [None, 28, 28])
    return tf.estimator.export.ServingInputReceiver({"image": tf.expand_dims(image, -1)}, {"image": image})


def input_fn(part, num_epochs):
    return tf.estimator.inputs.numpy_input_fn(
        x={"image": part.images}, y=part.labels, batch_size=8, num_epochs=num_epochs, shuffle=num_epochs is None
    )


def main(arguments):
    tf.logging.set_verbosity(arguments.verbosity)
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = str(tf.logging.__dict__[arguments.verbosity] // 10)
    digits = input_data.read_data_sets(arguments.data_dir, one_hot=True, reshape=False, validation_size=8)
    trial = json.loads(os.environ.get("TF_CONFIG", "{}")).get("task", {}).get("trial", "")
    estimator = tf.estimator.Estimator(
        network.model_fn,
        model_dir=os.path.join(arguments.model_dir, trial),
        config=tf.estimator.RunConfig(save_summary_steps=1),
        params={"units": 6, "cell": "gru", "learning_rate": arguments.learning_rate},
    )
    exporter = tf.estimator.LatestExporter("digits", serving_input_fn)
    found, _ = tf.estimator.train_and_evaluate(
        estimator,
        tf.estimator.TrainSpec(input_fn(digits.train, None), max_steps=4),
        tf.estimator.EvalSpec(input_fn(digits.test, 1), steps=None, exporters=exporter),
    )
    result = {
        "examples": [part.num_examples for part in digits],
        "is_one_module": network is the_same,
        **{name: float(value) for name, value in found.items()},
    }
    with tf.gfile.GFile(os.path.join(arguments.model_dir, "result.json"), "w") as file:
        json.dump(result, file)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--model_dir", required=True)
    parser.add_argument("--data_dir", required=True)
    parser.add_argument("--learning_rate", type=float, default=0.01)
    parser.add_argument("--verbosity", choices=["DEBUG", "ERROR", "INFO", "WARN"], default="INFO")
    main(parser.parse_args())
