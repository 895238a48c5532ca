"""What the training loop of the `tf` engine costs over the bare `tf.function` that it runs.

    python benchmarks/loop_overhead.py [--pairs=60] [--steps=10] [--batch_size=64]

The same small residual network at 32 px, on the same synthetic batches. Both sides train by turns, a few steps each, in
one run; the times of neighbouring turns are compared, so that a busy machine slows both. Prints the median of the
ratios; the loop should cost at most 3 %. Each turn of the loop holds a look at the loss and an event, which a training
has every 100 steps or so: the figure is on the high side.
"""

import argparse
import statistics
import tempfile
import time
from typing import Any

import numpy as np
import tensorflow as tf

from trainer.estimator import Progress, ProgressHook, RunConfig, TPUEstimator, TPUEstimatorSpec

_NUM_CLASSES = 10
_NUM_IMAGES = 2048


class _Network:
    """Three stages of two residual blocks."""

    def __call__(self, images: tf.Tensor) -> tf.Tensor:
        outputs = self._convolution(images, 16, 1, "stem")
        for stage, filters in enumerate((16, 32, 64)):
            for block in range(2):
                name = f"stage{stage}/block{block}"
                stride = 2 if stage and not block else 1
                shortcut = self._convolution(outputs, filters, stride, f"{name}/shortcut", size=1)
                outputs = tf.nn.relu(self._convolution(outputs, filters, stride, f"{name}/first"))
                outputs = tf.nn.relu(self._convolution(outputs, filters, 1, f"{name}/second") + shortcut)
        return self._dense(tf.reduce_mean(outputs, [1, 2]))

    def _convolution(self, inputs: tf.Tensor, filters: int, stride: int, name: str, size: int = 3) -> tf.Tensor:
        shape = [size, size, inputs.shape[-1], filters]
        kernel = tf.Variable(tf.random.truncated_normal(shape, stddev=0.05, seed=1), name=f"{name}/kernel")
        return tf.nn.conv2d(inputs, kernel, stride, "SAME")

    def _dense(self, inputs: tf.Tensor) -> tf.Tensor:
        kernel = tf.Variable(tf.zeros([inputs.shape[-1], _NUM_CLASSES]), name="dense/kernel")
        return inputs @ kernel


def _loss(images: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
    logits = _Network()(tf.cast(images, tf.float32) / 255)
    return tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits))


def _model_fn(features: tf.Tensor, labels: tf.Tensor, mode: str, params: Any) -> TPUEstimatorSpec:
    del params
    loss = _loss(features, labels)
    variables = tf.compat.v1.trainable_variables()
    for variable, gradient in zip(variables, tf.gradients(loss, variables), strict=True):
        variable.assign_sub(0.01 * gradient)
    return TPUEstimatorSpec(mode, loss=loss, train_op=tf.compat.v1.train.get_global_step().assign_add(1))


def _dataset(batch_size: int) -> tf.data.Dataset:
    generator = np.random.default_rng(0)
    images = generator.integers(0, 256, [_NUM_IMAGES, 32, 32, 3], np.uint8)
    labels = generator.integers(0, _NUM_CLASSES, [_NUM_IMAGES], np.int32)
    dataset = tf.data.Dataset.from_tensor_slices((images, labels))
    return dataset.repeat().batch(batch_size, drop_remainder=True).prefetch(tf.data.AUTOTUNE)


class _BareSide:
    """The step as a `tf.function`, called in a loop."""

    def __init__(self, batch_size: int):
        self._batches = iter(_dataset(batch_size))
        self._step = tf.function(_BareStep(), autograph=False)

    def secs(self, num_steps: int) -> float:
        """Trains; returns the seconds it took."""
        start_secs = time.perf_counter()
        for _ in range(num_steps):
            loss = self._step(*next(self._batches))
        float(loss)
        return time.perf_counter() - start_secs


class _Turns(ProgressHook):
    """Lets the bare side train whenever the loop looks at the loss, and takes the time of both."""

    def __init__(self, bare: _BareSide, num_steps: int):
        self._bare = bare
        self._num_steps = num_steps
        self._start_secs: float | None = None
        self.pairs: list[tuple[float, float]] = []

    def on_progress(self, progress: Progress) -> None:
        now_secs = time.perf_counter()
        bare_secs = self._bare.secs(self._num_steps)
        # The first turn of each side traces.
        if self._start_secs is not None:
            self.pairs.append((now_secs - self._start_secs, bare_secs))
        self._start_secs = time.perf_counter()


class _BareStep:
    """Variables made at the first call, as a tf.function wants it."""

    def __init__(self) -> None:
        self._variables: dict[str, tf.Variable] = {}

    def __call__(self, images: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
        with tf.variable_creator_scope(self._create):
            loss = _loss(images, labels)
        variables = list(self._variables.values())
        for variable, gradient in zip(variables, tf.gradients(loss, variables), strict=True):
            variable.assign_sub(0.01 * gradient)
        return loss

    def _create(self, next_creator: Any, **kwargs: Any) -> tf.Variable:
        if kwargs["name"] not in self._variables:
            self._variables[kwargs["name"]] = next_creator(**kwargs)
        return self._variables[kwargs["name"]]


def main() -> None:
    """Runs both sides in turn and prints the ratio."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=60)
    parser.add_argument("--steps", type=int, default=10, help="steps of each turn")
    parser.add_argument("--batch_size", type=int, default=64)
    arguments = parser.parse_args()
    turns = _Turns(_BareSide(arguments.batch_size), arguments.steps)
    with tempfile.TemporaryDirectory() as model_dir:
        config = RunConfig(model_dir=model_dir, log_step_count_steps=arguments.steps, save_checkpoints_secs=None)
        estimator = TPUEstimator(_model_fn, config=config, use_tpu=False, train_batch_size=arguments.batch_size)
        num_steps = (arguments.pairs + 1) * arguments.steps
        estimator.train(lambda params: _dataset(params["batch_size"]), steps=num_steps, hooks=[turns])
    report(turns.pairs, arguments.steps)


def report(pairs: list[tuple[float, float]], num_steps: int) -> None:
    """Prints milliseconds per step of both sides, and the ratio."""
    loop_ms, bare_ms = (1e3 * statistics.median(side) / num_steps for side in zip(*pairs, strict=True))
    low, middle, high = statistics.quantiles([loop / bare for loop, bare in pairs], n=4)
    print(f"loop {loop_ms:.2f} ms, bare {bare_ms:.2f} ms a step (medians of {len(pairs)} turns of {num_steps} steps)")
    print(f"loop / bare: median {middle:.4f}, quartiles {low:.4f} to {high:.4f} (aim: at most 1.03)")


if __name__ == "__main__":
    main()
