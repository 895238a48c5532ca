"""Stateless randomness: every random number is a function of (seed, step, replica, name of the use)."""

import dataclasses
import hashlib
from collections.abc import Sequence

import tensorflow as tf

# Steps below this many get distinct numbers on every replica; int32 arithmetic wraps round after.
_STEPS_PER_REPLICA = 2**20


@dataclasses.dataclass(frozen=True)
class RandomKey:
    """Names a stream of random numbers; equal keys give equal numbers, so a resumed run repeats an uninterrupted one.

    TensorFlow's CPU kernels and XLA number the Philox stream differently: each repeats itself, but the two
    differ in what they draw.
    """

    seed: int
    step: tf.Tensor | int = 0
    replica: tf.Tensor | int = 0
    path: str = ""

    def fold(self, name: str) -> "RandomKey":
        """Returns the key of the use `name` below this one."""
        return dataclasses.replace(self, path=f"{self.path}/{name}")

    def uniform(self, shape: tf.Tensor | Sequence[int]) -> tf.Tensor:
        """Returns float32 of `shape`, uniform in [0, 1)."""
        return tf.random.stateless_uniform(shape, self._words(), alg="philox")

    def normal(self, shape: tf.Tensor | Sequence[int], stddev: float = 1.0) -> tf.Tensor:
        """Returns float32 of `shape`, normal with mean 0."""
        return tf.random.stateless_normal(shape, self._words(), stddev=stddev, alg="philox")

    def _words(self) -> tf.Tensor:
        digest = hashlib.sha256(f"{self.seed}{self.path}".encode()).digest()
        step, replica = tf.cast(self.step, tf.int32), tf.cast(self.replica, tf.int32)
        return tf.stack([int.from_bytes(digest[:4], "little", signed=True), step + replica * _STEPS_PER_REPLICA])
