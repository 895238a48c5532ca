"""Names for random numbers: equal (seed, use, position) give equal numbers, on any machine and after any restart."""

import hashlib

import tensorflow as tf


def named_seed(seed: int, use: str) -> int:
    """Returns 62 bits that stand for one use of the experiment's seed, such as "shuffle"."""
    digest = hashlib.sha256(f"{seed}/{use}".encode()).digest()
    return int.from_bytes(digest[:8], "little") >> 2


def position_seed(seed: int, use: str, position: tf.Tensor) -> tf.Tensor:
    """Returns the int64 `[2]` seed of one use at one position (int64 scalar) of the stream."""
    return tf.stack([tf.constant(named_seed(seed, use), tf.int64), position])
