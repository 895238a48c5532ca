"""The network and the input of `classifier.py`, in the way of TensorFlow 1."""

import numpy as np
import tensorflow as tf
from tensorflow.contrib.framework import nest

import preprocessing


def logits_of(features, hparams, training):
    normalised = tf.contrib.layers.layer_norm(tf.layers.flatten(features["pixels"]), begin_norm_axis=1)
    hidden = tf.layers.dense(
        normalised,
        hparams.units,
        activation=tf.nn.relu,
        kernel_initializer=tf.contrib.layers.variance_scaling_initializer(),
        kernel_regularizer=tf.contrib.layers.l2_regularizer(hparams.weight_decay),
    )
    hidden = tf.layers.batch_normalization(hidden, training=training)
    # TensorFlow 1 has dimensions with a value.
    width = hidden.shape[1].value
    weights = tf.get_variable("out/kernel", [width, 2], initializer=tf.contrib.layers.xavier_initializer())
    return tf.matmul(hidden, weights)


def input_fn_of(mode, hparams):
    def read(shard):
        generator = np.random.RandomState(0)
        labels = np.arange(16, dtype=np.int32) % 2
        pixels = (generator.rand(16, 4, 4, 1) + labels[:, None, None, None]).astype(np.float32)
        return tf.data.Dataset.from_tensor_slices((pixels, labels)).shard(2, shard)

    def input_fn(params):
        training = mode == tf.estimator.ModeKeys.TRAIN
        dataset = tf.data.Dataset.range(2).apply(tf.contrib.data.parallel_interleave(read, cycle_length=2))
        if training:
            dataset = dataset.apply(tf.contrib.data.shuffle_and_repeat(16, seed=hparams.seed))
        dataset = dataset.apply(
            tf.contrib.data.map_and_batch(preprocessing.scaled, params["batch_size"], drop_remainder=training)
        )
        assert set(nest.flatten(dataset.output_shapes)), "shapes are known"
        return dataset.prefetch(tf.contrib.data.AUTOTUNE)

    return input_fn
