import collections
import hashlib

import pytest

from preprocessing import shards


@pytest.mark.parametrize(
    ("num_bytes", "expected"),
    [(0, 1), (9_999_999, 1), (40_000_000, 4), (200_000_000, 16), (2_250_000_000, 16), (15_000_000_001, 101)],
)
def test_the_number_of_shards_follows_the_bytes(num_bytes, expected):
    assert shards.num_shards(num_bytes) == expected


def test_images_spread_evenly():
    digests = [hashlib.sha256(str(index).encode()).hexdigest() for index in range(8_000)]
    counts = collections.Counter(shards.shard_index(digest, 8) for digest in digests)
    assert set(counts) == set(range(8))
    assert max(counts.values()) < 1.15 * min(counts.values())
