"""Random operations of TensorFlow 1 keyed by the global step: a resumed run draws what an uninterrupted one would.

TensorFlow 1's operations keep their place in the stream of random numbers inside the runtime, where no checkpoint sees
it. Their generator (Philox, Salmon et al. 2011) can start anywhere in the stream: the stateless operation that takes
their place at step n starts where the stateful one would be after n executions. So the first run draws the very numbers
that TensorFlow 1 draws on a CPU.

Operations without a seed, and those inside a loop, a branch or a `tf.function`, stay as they are.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import tensorflow as tf

# By how many 128-bit samples per number the stateful operations move on.
_SAMPLES_PER_NUMBER = 256
_PHILOX = 1

_STATELESS: Mapping[str, Callable[..., tf.Tensor]] = MappingProxyType(
    {
        "RandomUniform": tf.raw_ops.StatelessRandomUniformV2,
        "RandomStandardNormal": tf.raw_ops.StatelessRandomNormalV2,
        "TruncatedNormal": tf.raw_ops.StatelessTruncatedNormalV2,
        "RandomUniformInt": tf.raw_ops.StatelessRandomUniformIntV2,
    }
)


def is_keyed_by_step(operation: tf.Operation) -> bool:
    """Returns whether `at_step` applies to an operation: it is random, and has a seed."""
    return operation.type in _STATELESS and any(operation.get_attr(name) for name in ("seed", "seed2"))


def at_step(operation: tf.Operation, inputs: list[tf.Tensor], step: tf.Tensor, replica_id: Any) -> tf.Tensor:
    """Returns what `operation` would give at its execution number `step` (from 0), in the default graph.

    Args:
      operation: the stateful operation.
      inputs: its inputs, in the default graph.
      step: int64 scalar.
      replica_id: integer; replicas other than 0 draw other numbers.
    """
    num_values = tf.reduce_prod(tf.cast(inputs[0], tf.uint64))
    position = tf.cast(step, tf.uint64) * num_values * _SAMPLES_PER_NUMBER
    seed, stream = (tf.constant(operation.get_attr(name) % 2**64, tf.uint64) for name in ("seed", "seed2"))
    key = seed + tf.bitwise.left_shift(tf.cast(replica_id, tf.uint64), tf.constant(32, tf.uint64))
    arguments = {"shape": inputs[0], "key": key[tf.newaxis], "counter": tf.stack([position, stream]), "alg": _PHILOX}
    if operation.type == "RandomUniformInt":
        return tf.raw_ops.StatelessRandomUniformIntV2(minval=inputs[1], maxval=inputs[2], **arguments)
    return _STATELESS[operation.type](dtype=operation.outputs[0].dtype, **arguments)
