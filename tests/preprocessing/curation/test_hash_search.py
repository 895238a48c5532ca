import numpy as np
import pytest

from preprocessing.curation import hash_search
from preprocessing.curation.disjoint_sets import DisjointSets


def all_similar_pairs(hashes: np.ndarray) -> list[tuple[int, int]]:
    """The same by comparing every pair."""
    distinct = np.unique(hashes)
    first, second = np.triu_indices(len(distinct), k=1)
    similar = np.bitwise_count(distinct[first] ^ distinct[second]) <= hash_search.MAX_DISTANCE
    return list(zip(distinct[first][similar].tolist(), distinct[second][similar].tolist(), strict=True))


def random_hashes(number: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 2**64, number, dtype=np.uint64)


def flip_bits(value: int, num_bits: int, random: np.random.Generator) -> int:
    for bit in random.choice(64, num_bits, replace=False):
        value ^= 1 << int(bit)
    return value


@pytest.mark.parametrize("distance", range(1, 11))
def test_finds_every_planted_pair(distance):
    random = np.random.default_rng(distance)
    originals = random_hashes(300, seed=distance).tolist()
    copies = [flip_bits(value, distance, random) for value in originals]
    pairs = set(map(tuple, hash_search.similar_pairs(np.array(originals + copies, np.uint64)).tolist()))
    assert {tuple(sorted(pair)) for pair in zip(originals, copies, strict=True)} <= pairs


def test_agrees_with_comparing_every_pair():
    random = np.random.default_rng(1)
    centres = random_hashes(40)
    hashes = np.array(
        [flip_bits(int(c), int(random.integers(0, 12)), random) for c in centres for _ in range(12)], np.uint64
    )
    found = hash_search.similar_pairs(hashes)
    assert list(map(tuple, found.tolist())) == all_similar_pairs(hashes)
    assert found.dtype == np.uint64


def test_no_pair_at_distance_eleven():
    random = np.random.default_rng(2)
    value = int(random_hashes(1)[0])
    assert not len(hash_search.similar_pairs(np.array([value, flip_bits(value, 11, random)], np.uint64)))


@pytest.mark.parametrize("number", [0, 1])
def test_nothing_to_compare(number):
    assert hash_search.similar_pairs(random_hashes(number)).shape == (0, 2)


def test_equal_hashes_are_no_pair():
    assert hash_search.similar_pairs(np.full(1000, 7, np.uint64)).shape == (0, 2)


def test_tables_can_be_searched_apart():
    hashes = np.concatenate([random_hashes(500), random_hashes(500) ^ np.uint64(0b1011)])
    parts = [hash_search.similar_pairs(hashes, hash_search.TABLES[part::3]) for part in range(3)]
    assert np.array_equal(hash_search.merge_pairs(parts), hash_search.similar_pairs(hashes))


def crowd_of(number: int, seed: int) -> np.ndarray:
    """Hashes around one centre: nearly all pairs of them are similar."""
    random = np.random.default_rng(seed)
    values = [flip_bits(0x0123456789ABCDEF, int(random.integers(0, 6)), random) for _ in range(number)]
    return np.unique(np.array(values, np.uint64))


def test_work_on_a_crowd_is_bounded_and_it_hangs_together():
    crowd = crowd_of(5000, seed=3)
    some_tables = hash_search.TABLES[::50]
    pairs = hash_search.similar_pairs(crowd, some_tables)
    assert set(np.unique(pairs).tolist()) == set(crowd.tolist())
    assert len(pairs) <= len(some_tables) * 40 * len(crowd)
    sets = DisjointSets(len(crowd))
    for first, second in np.searchsorted(crowd, pairs).tolist():
        sets.join(first, second)
    assert sets.size(0) == len(crowd)


@pytest.mark.slow
def test_copies_within_a_crowd_are_found():
    crowd = crowd_of(5000, seed=4)
    random = np.random.default_rng(5)
    copies = [flip_bits(value, int(random.integers(1, 3)), random) for value in crowd[:300].tolist()]
    pairs = hash_search.similar_pairs(np.concatenate([crowd, np.array(copies, np.uint64)]))
    found = set(map(tuple, pairs.tolist()))
    assert {tuple(sorted(pair)) for pair in zip(crowd[:300].tolist(), copies, strict=True)} <= found


@pytest.mark.slow
def test_a_crowd_hides_nobody_else():
    others = random_hashes(300)
    copies = others ^ np.uint64(0b1011011)
    pairs = hash_search.similar_pairs(np.concatenate([crowd_of(3000, seed=6), others, copies]))
    assert set(map(tuple, np.sort(np.stack([others, copies], axis=1), axis=1).tolist())) <= set(
        map(tuple, pairs.tolist())
    )
