"""Keras 3's seed generators give each replica seeds of its own.

A generator keeps its seed and a counter in a variable, which is the same on every replica: each would drop the same
units. The variable stays as it is, so that a resumed run goes on from the checkpoint; only the seeds drawn differ.
"""

import contextlib
import sys
from collections.abc import Iterator
from typing import Any

import tensorflow as tf

from trainer import replica

# Seeds of neighbouring replicas are so far apart.
_SEED_DISTANCE = 1_000_003


@contextlib.contextmanager
def of_replicas(context: replica.ReplicaContext) -> Iterator[None]:
    """Inside the `with` block, seeds that `keras.random.SeedGenerator`s draw in a graph depend on the replica."""
    if context.num_replicas == 1 or "keras" not in sys.modules:
        yield
        return
    from keras.random import SeedGenerator  # noqa: PLC0415 - TensorFlow has loaded it, or nobody uses it

    original = SeedGenerator.next

    def next_seed(self: Any, *args: Any, **kwargs: Any) -> tf.Tensor:
        seed = original(self, *args, **kwargs)
        if tf.executing_eagerly():  # an initial value, the same on every replica
            return seed
        distance = tf.cast(context.replica_id(), seed.dtype) * _SEED_DISTANCE
        return seed + tf.stack([distance, tf.zeros_like(distance)])

    SeedGenerator.next = next_seed
    try:
        yield
    finally:
        SeedGenerator.next = original
