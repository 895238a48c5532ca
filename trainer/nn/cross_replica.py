"""Means over replicas. With one replica each is the identity and adds nothing to the program."""

from collections.abc import Sequence

import tensorflow as tf

from trainer import replica
from trainer.errors import UserError


def mean_over_replicas(tensors: Sequence[tf.Tensor]) -> list[tf.Tensor]:
    """Returns the mean of each tensor over all replicas; no gradient flows through it."""
    context = replica.current()
    if context.num_replicas == 1:
        return list(tensors)
    return [context.all_reduce_sum(tf.stop_gradient(tensor)) / context.num_replicas for tensor in tensors]


def mean_over_group(tensor: tf.Tensor, group_size: int) -> tf.Tensor:
    """Returns the mean of `tensor` over each run of `group_size` neighbouring replicas.

    Its gradient is the mean over the group as well: the loss of each of its replicas depends on the mean.

    Raises:
      UserError: when the replicas do not divide into such groups.
    """
    context = replica.current()
    if context.num_replicas % group_size:
        raise UserError(
            f"{context.num_replicas} replica(s) do not divide into groups of {group_size}",
            where=f"--batch_norm_group_size={group_size}",
            remedy="give a divisor of the number of replicas",
        )
    groups = [list(range(first, first + group_size)) for first in range(0, context.num_replicas, group_size)]
    return context.all_reduce_sum(tensor, groups) / group_size
