"""A classifier in the last way of TensorFlow 1: `compat.v1` and `compat.v2`, flat images, TFLite at the end."""

import functools
import json

import numpy as np
import tensorflow.compat.v1 as tf
import tensorflow.compat.v2 as tf2
from absl import app, flags
from tensorflow.compat.v1 import estimator as tf_estimator
from tensorflow.python.tpu import tpu_function

flags.DEFINE_string("model_dir", None, "where checkpoints go")
flags.DEFINE_string("tpu", None, "the accelerator")
flags.DEFINE_bool("use_tpu", False, "whether to use it")
FLAGS = flags.FLAGS
SIZE, NUM_CLASSES, AVERAGE_DECAY = 6, 8, 0.5


class RoutedConv2D(tf.keras.layers.Conv2D):
    """Each example is convolved with a mixture of experts of its own."""

    def build(self, input_shape):
        depth = tf.TensorShape(input_shape).dims[-1].value
        self.expert_shape = (*self.kernel_size, depth, self.filters)
        self.experts = self.add_weight("experts", (2, int(np.prod(self.expert_shape))), initializer="glorot_uniform")
        self.input_spec = tf.layers.InputSpec(ndim=4, axes={-1: depth})
        self.built = True

    def call(self, inputs, routing):
        batch_size = inputs.shape[0].value
        kernels = tf.split(tf.matmul(routing, self.experts), batch_size, 0)
        outputs = [
            tf.nn.convolution(image, tf.reshape(kernel, self.expert_shape), padding="SAME", data_format="NHWC")
            for image, kernel in zip(tf.split(inputs, batch_size, 0), kernels, strict=True)
        ]
        return tf.concat(outputs, 0)


class PointwiseConv2D(tf.layers.Conv2D):
    """A layer of `tf.layers` with another way to compute it."""

    def call(self, inputs):
        outputs = tf.matmul(tf.reshape(inputs, [-1, inputs.shape[-1].value]), tf.squeeze(self.kernel, [0, 1]))
        return tf.nn.bias_add(tf.reshape(outputs, [-1, SIZE, SIZE, self.filters]), self.bias)


class CrossReplicaNormalization(tf.layers.BatchNormalization):
    """Moments over all replicas."""

    def _moments(self, inputs, reduction_axes, keep_dims):
        mean, variance = super()._moments(inputs, reduction_axes, keep_dims=keep_dims)
        num_shards = tpu_function.get_tpu_context().number_of_shards or 1
        if num_shards == 1:
            return mean, variance
        groups = [list(range(num_shards))]
        square = tf.tpu.cross_replica_sum(variance + tf.square(mean), groups) / num_shards
        mean = tf.tpu.cross_replica_sum(mean, groups) / num_shards
        return mean, square - tf.square(mean)


class TrustOptimizer(tf.train.Optimizer):
    """An optimizer of the program's own, on raw operations."""

    def __init__(self, learning_rate, name="Trust"):
        super().__init__(use_locking=False, name=name)
        self._learning_rate = learning_rate

    def _create_slots(self, var_list):
        for variable in var_list:
            self._zeros_slot(variable, "momentum", self._name)

    def _resource_apply_dense(self, grad, var):
        norm = tf.norm(grad, ord=2)
        trust = tf.where(tf.math.greater(norm, 0), (1 + tf.norm(var, ord=2)) / norm, 1.0)
        return tf.raw_ops.ResourceApplyMomentum(
            var=var.handle,
            accum=self.get_slot(var, "momentum").handle,
            lr=tf.cast(1.0, var.dtype.base_dtype),
            grad=grad * trust * self._learning_rate,
            momentum=0.9,
        )


def logits_of(images, training):
    images -= tf.constant([0.5, 0.5, 0.5], shape=[1, 1, 3])
    images /= tf.constant([2.0, 2.0, 2.0], shape=[1, 1, 3])
    with tf.variable_scope("network"):
        images = PointwiseConv2D(4, 1)(images)
        pooled = tf.keras.layers.GlobalAveragePooling2D()(images)
        routing = tf.layers.Dense(2, activation=tf.nn.sigmoid)(pooled)
        images += RoutedConv2D(4, 3)(images, routing=routing)
        images = tf.nn.swish(CrossReplicaNormalization(fused=False)(images, training=training))
        logits = tf.layers.Dense(NUM_CLASSES)(tf.reduce_mean(images, [1, 2]))
    return tf.identity(logits, "logits")


def averaged():
    moving = [variable for variable in tf.global_variables() if "moving_" in variable.name]
    return list(set(tf.trainable_variables() + moving))


def host_call_fn(global_step, learning_rate):
    step = global_step[0]
    writer = tf2.summary.create_file_writer(FLAGS.model_dir + "/host_call", max_queue=2)
    with writer.as_default(), tf2.summary.record_if(True):
        tf2.summary.scalar("learning_rate", learning_rate[0], step=step)
        return tf.summary.all_v2_summary_ops()


def metric_fn(labels, logits):
    labels = tf.argmax(labels, axis=1)
    in_top_5 = tf.cast(tf.nn.in_top_k(logits, labels, 5), tf.float32)
    return {"top_1": tf.metrics.accuracy(labels, tf.argmax(logits, axis=1)), "top_5": tf.metrics.mean(in_top_5)}


def model_fn(features, labels, mode, params):
    training = mode == tf_estimator.ModeKeys.TRAIN
    tf.keras.backend.set_learning_phase(training)
    if isinstance(features, dict):
        features = features["feature"]
    if mode == tf_estimator.ModeKeys.PREDICT:
        logits = logits_of(features, training)
        predictions = {"probabilities": tf.nn.softmax(logits, name="softmax_tensor")}
        outputs = {"classify": tf_estimator.export.PredictOutput(predictions)}
        return tf_estimator.EstimatorSpec(mode=mode, predictions=predictions, export_outputs=outputs)
    features = tf.transpose(tf.reshape(features, [SIZE, SIZE, 3, -1]), [3, 0, 1, 2])
    logits = logits_of(features, training)
    loss = tf.losses.softmax_cross_entropy(logits=logits, onehot_labels=labels, label_smoothing=0.1)
    step = tf.train.get_global_step()
    averages = tf.train.ExponentialMovingAverage(decay=AVERAGE_DECAY)
    if not training:
        restored = averages.variables_to_restore(averaged())
        return tf_estimator.tpu.TPUEstimatorSpec(
            mode=mode,
            loss=loss,
            eval_metrics=(metric_fn, [labels, logits]),
            scaffold_fn=lambda: tf.train.Scaffold(saver=tf.train.Saver(restored)),
        )
    decay_steps = tf.maximum(tf.constant(1, dtype=tf.int64), tf.subtract(step, 1))
    decayed = tf.train.polynomial_decay(0.1, decay_steps, 10, end_learning_rate=0.01, power=2.0)
    learning_rate = tf.cond(step < 2, lambda: 0.05 * tf.cast(step, tf.float32), lambda: decayed)
    optimizer = TrustOptimizer(learning_rate)
    if FLAGS.use_tpu:
        optimizer = tf.tpu.CrossShardOptimizer(optimizer)
    with tf.control_dependencies(tf.get_collection(tf.GraphKeys.UPDATE_OPS)):
        train_op = optimizer.minimize(loss, step)
    with tf.control_dependencies([train_op]):
        train_op = averages.apply(averaged())
    host_call = (host_call_fn, [tf.reshape(step, [1]), tf.reshape(learning_rate, [1])])
    return tf_estimator.tpu.TPUEstimatorSpec(mode=mode, loss=loss, train_op=train_op, host_call=host_call)


def input_fn(params, training):
    batch_size = params["batch_size"]

    def parsed(index):
        label = index % NUM_CLASSES
        image = tf.random_uniform([SIZE, SIZE, 3]) + tf.cast(label, tf.float32)
        return image, tf.one_hot(tf.cast(label, tf.int32), NUM_CLASSES)

    def mixed(images, labels):
        weight = tf.distributions.Beta(0.2, 0.2).sample([batch_size, 1])
        image_weight = tf.reshape(weight, [batch_size, 1, 1, 1])
        images = images * image_weight + images[::-1] * (1.0 - image_weight)
        return images, labels * weight + labels[::-1] * (1.0 - weight)

    def flat(images, labels):
        labels.set_shape(labels.get_shape().merge_with(tf.TensorShape([batch_size, None])))
        return tf.reshape(tf.transpose(images, [1, 2, 3, 0]), [-1]), labels

    dataset = tf.data.Dataset.range(16)
    if training:
        dataset = dataset.repeat().shuffle(16)
    dataset = dataset.map(parsed, 4).batch(batch_size, True)
    if training:
        dataset = dataset.map(mixed, num_parallel_calls=4)
    options = tf.data.Options()
    options.experimental_deterministic = False
    options.experimental_threading.private_threadpool_size = 4
    return dataset.map(flat, 4).prefetch(tf.data.experimental.AUTOTUNE).with_options(options)


def serving_fn():
    encoded = tf.placeholder(shape=[1], dtype=tf.string)
    images = tf.map_fn(
        lambda one: tf.image.resize_bicubic([tf.image.decode_jpeg(one, channels=3)], [SIZE, SIZE])[0],
        encoded,
        back_prop=False,
        dtype=tf.float32,
    )
    return tf_estimator.export.ServingInputReceiver(images, {"image_bytes": encoded})


def lite_model(saved_model_dir, *, quantized):
    converter = tf.lite.TFLiteConverter.from_saved_model(
        saved_model_dir, input_arrays=["truediv"], output_arrays=["logits"]
    )
    converter.post_training_quantize = quantized
    return converter.convert()


def main(argv):
    del argv
    resolver = tf.distribute.cluster_resolver.TPUClusterResolver(FLAGS.tpu) if FLAGS.use_tpu else None
    config = tf_estimator.tpu.RunConfig(
        cluster=resolver,
        model_dir=FLAGS.model_dir,
        tpu_config=tf_estimator.tpu.TPUConfig(
            iterations_per_loop=2,
            per_host_input_for_training=tf_estimator.tpu.InputPipelineConfig.PER_HOST_V2,
        ),
    )
    estimator = tf_estimator.tpu.TPUEstimator(
        model_fn, config=config, use_tpu=FLAGS.use_tpu, train_batch_size=8, eval_batch_size=8, params={}
    )
    estimator.train(functools.partial(input_fn, training=True), max_steps=4)
    metrics = estimator.evaluate(functools.partial(input_fn, training=False), steps=2, name="held_out")
    exported = estimator.export_saved_model(FLAGS.model_dir + "/export", serving_fn)
    sizes = [len(lite_model(exported, quantized=quantized)) for quantized in (False, True)]
    with tf.gfile.GFile(FLAGS.model_dir + "/result.json", "w") as file:
        json.dump(
            {
                "metrics": {name: float(value) for name, value in metrics.items()},
                "exported": tf.compat.as_text(exported),
                "lite_sizes": sizes,
            },
            file,
        )


if __name__ == "__main__":
    app.run(main)
