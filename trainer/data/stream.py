"""Which record comes when: the endless stream of shuffled epochs to train on, and the single pass to evaluate on.

Record `i` of a host's training stream is a function of (dataset, seed, number of hosts, `i`) alone, so that a resumed
run goes on with the record that an uninterrupted one would have read.
"""

import dataclasses
from collections.abc import Sequence

import tensorflow as tf

from preprocessing.dataset_info import ShardInfo
from trainer.data import random_seed, records
from trainer.data.records import DatasetDirectory


@dataclasses.dataclass(frozen=True)
class HostShare:
    """What one host reads of a split: every `num_readers`-th record of `shards`, from number `reader` on."""

    shards: tuple[ShardInfo, ...]
    num_readers: int = 1
    reader: int = 0

    @property
    def num_examples(self) -> int:
        """This host's examples in one epoch."""
        total = sum(shard.num_examples for shard in self.shards)
        return len(range(self.reader, total, self.num_readers))


def host_share(shards: Sequence[ShardInfo], num_hosts: int, host: int) -> HostShare:
    """Gives each host the same number of shards; where that does not work out, every host reads all shards.

    The latter costs reading, but uneven shares would show some examples more often than others.
    """
    if len(shards) % num_hosts == 0:
        return HostShare(tuple(shards[host::num_hosts]))
    return HostShare(tuple(shards), num_readers=num_hosts, reader=host)


@dataclasses.dataclass(frozen=True)
class EpochOrder:
    """How records are shuffled; `cache_records` keeps them in memory, in a fixed order of shards."""

    seed: int
    shuffle_buffer_size: int
    cache_records: bool = False


def single_pass(dataset: DatasetDirectory, share: HostShare) -> tf.data.Dataset:
    """Returns the share's records, each once, always in the same order."""
    paths, counts = _paths_and_counts(dataset, share)
    return records.shard_records(paths, counts).shard(share.num_readers, share.reader)


def shuffled_epochs(dataset: DatasetDirectory, share: HostShare, order: EpochOrder, start: int) -> tf.data.Dataset:
    """Returns the endless stream of the share's records from its `start`-th on.

    Every epoch holds every record once, in an order of its own: shards are shuffled, read interleaved, and records
    shuffled in a buffer. Records before `start` cost nothing in whole epochs, and reading (no decoding) in the last.
    """
    first_epoch, offset = divmod(start, share.num_examples)
    cached = single_pass(dataset, share).cache() if order.cache_records else None

    def epoch_records(epoch):
        # Else the program's own tf.random.set_seed would change the order. Here, the call reaches this function only.
        # (0 is refused together with a seed that is a tensor.)
        tf.random.set_seed(1)
        unshuffled = _shuffled_shards(dataset, share, order, epoch) if cached is None else cached
        buffer_size = min(order.shuffle_buffer_size, share.num_examples)
        seed = random_seed.named_seed(order.seed, "record order") + epoch
        return unshuffled.shuffle(buffer_size, seed=seed, reshuffle_each_iteration=False)

    return tf.data.Dataset.range(first_epoch, tf.int64.max).flat_map(epoch_records).skip(offset)


def _shuffled_shards(
    dataset: DatasetDirectory, share: HostShare, order: EpochOrder, epoch: tf.Tensor
) -> tf.data.Dataset:
    paths, counts = _paths_and_counts(dataset, share)
    seed = random_seed.position_seed(order.seed, "shard order", epoch)
    permutation = tf.random.experimental.stateless_shuffle(tf.range(len(share.shards)), seed)
    shards = records.shard_records(tf.gather(paths, permutation), tf.gather(counts, permutation))
    return shards.shard(share.num_readers, share.reader)


def _paths_and_counts(dataset: DatasetDirectory, share: HostShare) -> tuple[tf.Tensor, tf.Tensor]:
    paths = [dataset.shard_path(shard) for shard in share.shards]
    counts = [shard.num_examples for shard in share.shards]
    return tf.constant(paths), tf.constant(counts, tf.int64)
