"""Keras 3's seed generators give each replica seeds of its own.

A generator keeps its seed and a counter in a variable, which is the same on every replica: each would drop the same
units. The variable stays as it is, so that a resumed run goes on from the checkpoint; only the seeds drawn differ.
"""

import sys
from collections.abc import Callable
from typing import Any

import tensorflow as tf

from trainer import replica

# Seeds of neighbouring replicas are so far apart.
_SEED_DISTANCE = 1_000_003


def differ_by_replica() -> None:
    """Lets the seeds that `keras.random.SeedGenerator`s draw in the trace of a step depend on the replica.

    This stays: which replicas there are is asked when a seed is drawn, by each thread for itself.
    """
    if "keras" not in sys.modules:
        return
    from keras.random import SeedGenerator  # noqa: PLC0415 - TensorFlow has loaded it, or nobody uses it

    if SeedGenerator.next.__module__ != __name__:
        SeedGenerator.next = _differing(SeedGenerator.next)


def _differing(original: Callable[..., Any]) -> Callable[..., Any]:
    def next_seed(self: Any, *args: Any, **kwargs: Any) -> Any:
        seed, context = original(self, *args, **kwargs), replica.current()
        if context.num_replicas == 1 or tf.executing_eagerly():  # eagerly: an initial value, the same on every replica
            return seed
        distance = tf.cast(context.replica_id(), seed.dtype) * _SEED_DISTANCE
        return seed + tf.stack([distance, tf.zeros_like(distance)])

    return next_seed
