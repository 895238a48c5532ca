"""Finds all pairs of similar hashes among millions without comparing every pair.

A hash of 64 bits is cut into 13 bands. Where two hashes differ in at most 10 bits, at least 3 bands are equal: it is
enough to compare hashes that agree in some choice of 3 bands. There are 286 such choices, each a *table* of its own
that puts hashes into buckets by 14 or 15 of their bits. No pair is missed, but for hashes in crowded buckets.

A *crowd* are thousands of different hashes of which nearly all pairs are similar: scans of one form, night skies. All
its pairs would be too many. Each of its hashes is compared with few others, so that the crowd hangs together, and with
all those that differ in one or two bits, as true copies do.
Reference: Manku et al., "Detecting near-duplicates for web crawling" (2007).
"""

import itertools
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

Table = tuple[tuple[int, int], ...]

MAX_DISTANCE = 10
_MATCHING_BANDS = 3
_NUM_BANDS = MAX_DISTANCE + _MATCHING_BANDS
# (first bit, number of bits): 12 bands of 5 bits and one of 4, so that the key of a table fits 16 bits, which numpy
# sorts ten times as fast as wider ones.
_BANDS = tuple((5 * band, min(5, 64 - 5 * band)) for band in range(_NUM_BANDS))
TABLES: Sequence[Table] = tuple(itertools.combinations(_BANDS, _MATCHING_BANDS))

# A hash is compared with at most so many others of its bucket, those with the nearest values; with fewer where after
# these few, of so large a share of all comparisons came a similar pair, that the bucket must be a part of a crowd.
_MAX_COMPARED = 512
_MAX_COMPARED_IN_CROWD = 4
_MIN_CROWDED_BUCKET = 64
_CROWD_SHARE = 0.25
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
    found, crowd = [_NO_PAIRS], np.empty(0, np.uint64)
    searched = list(tables)
    for table in searched:
        buckets = _lay_out(distinct, _keys(distinct, table))
        crowd = np.union1d(crowd, _search_buckets(buckets, found))
        if sum(map(len, found[1:])) > _MAX_PENDING_PAIRS:
            found = [merge_pairs(found)]
    for mask in _near_masks(searched):
        found.append(_pairs_by_mask(crowd, mask))
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


class _Buckets(NamedTuple):
    """Hashes laid out by bucket, the largest first, and the sizes of the buckets."""

    hashes: np.ndarray
    sizes: np.ndarray


def _lay_out(hashes: np.ndarray, keys: np.ndarray) -> _Buckets:
    sizes = np.bincount(keys, minlength=1 << 16)
    by_size = np.argsort(-sizes, kind="stable")
    rank = np.empty(1 << 16, np.uint16)
    rank[by_size] = np.arange(1 << 16, dtype=np.uint16)
    return _Buckets(hashes[np.argsort(rank[keys], kind="stable")], sizes[by_size])


def _search_buckets(buckets: _Buckets, found: list[np.ndarray]) -> np.ndarray:
    """Adds arrays of similar pairs to `found`; returns the hashes that are part of a crowd."""
    num_similar = np.zeros(len(buckets.hashes), np.uint8)
    for offset in range(1, _MAX_COMPARED_IN_CROWD + 1):
        similar = _search_at(buckets, offset, found)
        num_similar[similar] += 1
    is_crowded = _sums(num_similar, buckets.sizes) > _CROWD_SHARE * _MAX_COMPARED_IN_CROWD * buckets.sizes
    is_crowded &= buckets.sizes >= _MIN_CROWDED_BUCKET
    is_member = np.repeat(is_crowded, buckets.sizes)
    rest = _Buckets(buckets.hashes[~is_member], buckets.sizes[~is_crowded])
    for offset in range(_MAX_COMPARED_IN_CROWD + 1, min(int(rest.sizes[0]), _MAX_COMPARED + 1)):
        _search_at(rest, offset, found)
    return buckets.hashes[is_member]


def _search_at(buckets: _Buckets, offset: int, found: list[np.ndarray]) -> np.ndarray:
    """Adds the similar pairs of hashes `offset` places apart to `found`; returns the places of their first ones.

    They lie in one bucket, or perhaps not: every similar pair is welcome. Only buckets of more than `offset` hashes can
    have some; they are the beginning of the array, so that one operation compares all.
    """
    num_hashes = int(buckets.sizes[: np.searchsorted(-buckets.sizes, -offset)].sum())
    end = max(0, num_hashes - offset)
    first, second = buckets.hashes[:end], buckets.hashes[offset : offset + end]
    similar = np.flatnonzero(np.bitwise_count(first ^ second) <= MAX_DISTANCE)
    if len(similar):
        found.append(np.stack([first[similar], second[similar]], axis=1))
    return similar


def _sums(values: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """Returns the sums of consecutive runs of values, the runs having these sizes."""
    before = np.concatenate([[0], np.cumsum(values, dtype=np.int64)])
    ends = np.cumsum(sizes)
    return before[ends] - before[ends - sizes]


def _near_masks(tables: Sequence[Table]) -> Iterator[np.uint64]:
    """Yields these tables' share of all masks of one or two bits: they are spread over workers as the tables are."""
    bits = [1 << bit for bit in range(64)]
    masks = [*bits, *(first | second for first, second in itertools.combinations(bits, 2))]
    for table in tables:
        yield from map(np.uint64, masks[TABLES.index(table) :: len(TABLES)])


def _pairs_by_mask(hashes: np.ndarray, mask: np.uint64) -> np.ndarray:
    """Returns the pairs among sorted hashes that differ in just the bits of the mask."""
    if not len(hashes):
        return _NO_PAIRS
    others = hashes ^ mask
    places = np.minimum(np.searchsorted(hashes, others), len(hashes) - 1)
    is_pair = (hashes[places] == others) & (hashes < others)
    return np.stack([hashes[is_pair], others[is_pair]], axis=1)
