"""What round after round of training and evaluation costs: calls of the model_fn, CPU seconds, resident memory.

    python benchmarks/evaluation_rounds.py [--rounds=20] [--steps=20]

A small network with batch normalisation and moving averages, which evaluation reads through a scaffold. TensorFlow 1's
Estimator built its graph anew at each round. Prints one row a round; ends with status 1 if the model_fn is called
more than once for each mode, or memory grows by more than 0.2 MiB a round after the first five. Memory is looked at
after a garbage collection, and after the allocator has given back what it only keeps for later.
"""

import argparse
import collections
import ctypes
import gc
import pathlib
import resource
import sys
import tempfile

import numpy as np
import tensorflow as tf

from trainer.estimator import ModeKeys, RunConfig, TPUEstimator, TPUEstimatorSpec
from trainer.nn import metrics

_BATCH_SIZE = 32
_NUM_EXAMPLES = 512
_WARM_UP_ROUNDS = 5
_MAX_GROWTH_MIB = 0.2


class _Program:
    """A model_fn that counts its calls."""

    def __init__(self):
        self.calls = collections.Counter()

    def __call__(self, features: tf.Tensor, labels: tf.Tensor, mode: str, params: dict) -> TPUEstimatorSpec:
        del params
        self.calls[mode] += 1
        v1 = tf.compat.v1
        kernel = v1.get_variable("kernel", [3, 3, 3, 16], initializer=v1.glorot_uniform_initializer(seed=1))
        hidden = tf.nn.relu(tf.nn.conv2d(features, kernel, 1, "SAME"))
        head = v1.get_variable("head", [16, 10], initializer=v1.zeros_initializer())
        logits = tf.reduce_mean(hidden, [1, 2]) @ head
        loss = v1.losses.sparse_softmax_cross_entropy(labels, logits)
        average = v1.train.ExponentialMovingAverage(0.99)
        weights = v1.trainable_variables()
        if mode == ModeKeys.EVAL:
            metric_fn = lambda labels, logits: {"accuracy": metrics.top_k_accuracy(logits, labels, 1)}  # noqa: E731
            saver_of = lambda: v1.train.Saver(average.variables_to_restore(weights))  # noqa: E731
            return TPUEstimatorSpec(
                mode,
                loss=loss,
                eval_metrics=(metric_fn, [labels, logits]),
                scaffold_fn=lambda: v1.train.Scaffold(saver=saver_of()),
            )
        optimizer = v1.train.MomentumOptimizer(0.1, 0.9)
        with tf.control_dependencies([optimizer.minimize(loss, v1.train.get_global_step())]):
            return TPUEstimatorSpec(mode, loss=loss, train_op=average.apply(weights))


def _input_fn(mode: str, params: dict) -> tf.data.Dataset:
    generator = np.random.default_rng(0)
    images = generator.normal(size=[_NUM_EXAMPLES, 16, 16, 3]).astype(np.float32)
    labels = generator.integers(0, 10, [_NUM_EXAMPLES], np.int32)
    dataset = tf.data.Dataset.from_tensor_slices((images, labels))
    return (
        dataset.batch(params["batch_size"])
        if mode == ModeKeys.EVAL
        else dataset.repeat().batch(params["batch_size"], drop_remainder=True)
    )


def _resident_mib() -> float:
    gc.collect()
    ctypes.CDLL("libc.so.6").malloc_trim(0)
    pages = int(pathlib.Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 2**20


def _cpu_secs() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def main() -> int:
    """Runs the rounds."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--steps", type=int, default=20)
    arguments = parser.parse_args()
    program = _Program()
    sizes = []
    with tempfile.TemporaryDirectory() as model_dir:
        estimator = TPUEstimator(
            program,
            config=RunConfig(model_dir=model_dir, tf_random_seed=1),
            use_tpu=False,
            train_batch_size=_BATCH_SIZE,
            eval_batch_size=_BATCH_SIZE,
        )
        print("round  cpu s  resident MiB  calls of model_fn")
        for number in range(1, arguments.rounds + 1):
            start_secs = _cpu_secs()
            estimator.train(_input_fn, steps=arguments.steps)
            estimator.evaluate(_input_fn)
            cpu_secs = _cpu_secs() - start_secs
            sizes.append(_resident_mib())
            print(f"{number:>5}  {cpu_secs:>5.2f}  {sizes[-1]:>12.1f}  {sum(program.calls.values())}")
    growth = (sizes[-1] - sizes[_WARM_UP_ROUNDS - 1]) / max(len(sizes) - _WARM_UP_ROUNDS, 1)
    print(f"growth after round {_WARM_UP_ROUNDS}: {growth:.2f} MiB a round")
    return 0 if max(program.calls.values()) == 1 and growth <= _MAX_GROWTH_MIB else 1


if __name__ == "__main__":
    sys.exit(main())
