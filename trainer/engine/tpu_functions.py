"""Makes the TPU functions of TPUEstimator's time speak to our replicas: `tf.compat.v1.tpu.cross_replica_sum`, and with
it `CrossShardOptimizer`.

TensorFlow lowers its own CrossReplicaSum operation for its own TPU runtime only.
"""

import contextlib
from collections.abc import Iterator
from typing import Any

import tensorflow as tf
from tensorflow.python.ops import gen_tpu_ops
from tensorflow.python.tpu import tpu_function

from trainer import replica


@contextlib.contextmanager
def routed_to(context: replica.ReplicaContext) -> Iterator[None]:
    """Inside the `with` block, those functions see `context.num_replicas` shards and sum over `context`'s replicas."""

    def cross_replica_sum(input: Any, group_assignment: Any, name: str | None = None) -> tf.Tensor:
        groups = tf.get_static_value(tf.convert_to_tensor(group_assignment)).tolist()
        with tf.name_scope(name or "CrossReplicaSum"):
            return context.all_reduce_sum(tf.convert_to_tensor(input), groups)

    original = gen_tpu_ops.cross_replica_sum
    with tpu_function.tpu_shard_context(context.num_replicas):
        gen_tpu_ops.cross_replica_sum = cross_replica_sum
        try:
            yield
        finally:
            gen_tpu_ops.cross_replica_sum = original
