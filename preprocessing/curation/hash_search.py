"""Finds all pairs of similar hashes among millions without comparing every pair.

A hash of 64 bits is cut into 13 bands. Where two hashes differ in at most 10 bits, at least 3 bands are equal: it is
enough to compare hashes that agree in some choice of 3 bands. There are 286 such choices, each a *table* of its own
that puts hashes into buckets by 14 or 15 of their bits. No pair is missed, but for hashes in crowded buckets.
Reference: Manku et al., "Detecting near-duplicates for web crawling" (2007).
"""

import itertools
from collections.abc import Iterable, Iterator, Sequence

import numpy as np

Table = tuple[tuple[int, int], ...]

MAX_DISTANCE = 10
_MATCHING_BANDS = 3
_NUM_BANDS = MAX_DISTANCE + _MATCHING_BANDS
# (first bit, number of bits): 12 bands of 5 bits and one of 4, so that the key of a table fits 16 bits, which numpy
# sorts ten times as fast as wider ones.
_BANDS = tuple((5 * band, min(5, 64 - 5 * band)) for band in range(_NUM_BANDS))
TABLES: Sequence[Table] = tuple(itertools.combinations(_BANDS, _MATCHING_BANDS))

# A hash is compared with at most so many others of its bucket, those with the nearest values: a crowd of pictures that
# all look alike costs time in proportion to its size, not to the square of it.
_MAX_COMPARED = 512
_MAX_ALL_COMPARED = 2_048  # up to so many hashes, comparing all with all is faster
_MAX_PENDING_PAIRS = 4_000_000
_NO_PAIRS = np.empty((0, 2), np.uint64)


def similar_pairs(hashes: np.ndarray, tables: Iterable[Table] = TABLES) -> np.ndarray:
    """Returns uint64 `[pairs, 2]`: the pairs of different hashes that differ in at most 10 bits, sorted, each once.

    `hashes` is uint64 `[number]`, in any order. Given some of the tables, returns the pairs that those find: the
    tables can be spread over workers.
    """
    distinct = np.unique(hashes.astype(np.uint64, copy=False))
    if len(distinct) <= _MAX_ALL_COMPARED:
        return _compare_all(distinct)
    found, num_pending = [_NO_PAIRS], 0
    for table in tables:
        for pairs in _pairs_in_buckets(distinct, _keys(distinct, table)):
            found.append(pairs)
            num_pending += len(pairs)
        if num_pending > _MAX_PENDING_PAIRS:
            found, num_pending = [merge_pairs(found)], 0
    return merge_pairs(found)


def merge_pairs(parts: list[np.ndarray]) -> np.ndarray:
    """Returns the pairs of all parts, uint64 `[pairs, 2]`, the smaller hash of a pair first, sorted, each pair once."""
    pairs = np.concatenate([_NO_PAIRS, *parts])
    pairs.sort(axis=1)
    pairs = pairs[np.lexsort((pairs[:, 1], pairs[:, 0]))]
    is_new = np.ones(len(pairs), bool)
    is_new[1:] = (pairs[1:] != pairs[:-1]).any(axis=1)
    return pairs[is_new]


def _compare_all(hashes: np.ndarray) -> np.ndarray:
    distances = np.bitwise_count(hashes[:, None] ^ hashes[None, :])
    first, second = np.nonzero(np.triu(distances <= MAX_DISTANCE, k=1))
    return np.stack([hashes[first], hashes[second]], axis=1)


def _keys(hashes: np.ndarray, table: Table) -> np.ndarray:
    """Returns the bits of the table's bands, side by side, uint16 `[number]`."""
    keys = np.zeros(len(hashes), np.uint16)
    for first_bit, num_bits in table:
        band = (hashes >> np.uint64(first_bit)).astype(np.uint16) & np.uint16((1 << num_bits) - 1)
        keys = (keys << np.uint16(num_bits)) | band
    return keys


def _pairs_in_buckets(hashes: np.ndarray, keys: np.ndarray) -> Iterator[np.ndarray]:
    """Yields arrays of similar pairs with equal keys, and perhaps of a few others: every similar pair is welcome.

    The hashes are laid out by bucket, the largest first. Comparing each hash with the one `offset` places on is then
    one operation over the buckets of more than `offset` hashes, which are the beginning of the array.
    """
    sizes = np.bincount(keys, minlength=1 << 16)
    by_size = np.argsort(-sizes, kind="stable")
    rank = np.empty(1 << 16, np.uint16)
    rank[by_size] = np.arange(1 << 16, dtype=np.uint16)
    laid_out = hashes[np.argsort(rank[keys], kind="stable")]
    sizes = sizes[by_size]
    ends = np.cumsum(sizes)
    for offset in range(1, min(int(sizes[0]), _MAX_COMPARED + 1)):
        num_buckets = int(np.searchsorted(-sizes, -offset))  # of more than `offset` hashes
        end = int(ends[num_buckets - 1]) - offset
        first, second = laid_out[:end], laid_out[offset : offset + end]
        similar = np.flatnonzero(np.bitwise_count(first ^ second) <= MAX_DISTANCE)
        if len(similar):
            yield np.stack([first[similar], second[similar]], axis=1)
