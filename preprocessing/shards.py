"""How many shards a split has, and which of them an image belongs to."""

import math

_MAX_SHARD_BYTES = 150_000_000
# A reader interleaves files: a small split is divided too, as long as its files stay worth opening.
_MIN_SHARD_BYTES = 10_000_000
_INTERLEAVED_SHARDS = 16
_DIGEST_DIGITS = 16


def num_shards(num_bytes: int) -> int:
    """Returns the number of shards for about `num_bytes` of records: up to 150 MB each, at least 10 MB when few."""
    return max(math.ceil(num_bytes / _MAX_SHARD_BYTES), min(_INTERLEAVED_SHARDS, num_bytes // _MIN_SHARD_BYTES), 1)


def shard_index(digest: str, num_shards: int) -> int:
    """Returns the shard, of `num_shards`, for the image with this hex digest."""
    return int(digest[:_DIGEST_DIGITS], 16) % num_shards
