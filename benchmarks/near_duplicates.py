"""Seconds to group the near-duplicates among a million fingerprints, and how many of the planted ones are found.

    python benchmarks/near_duplicates.py
    python benchmarks/near_duplicates.py --num_images=100000

The tables of hashes are searched by `--num_workers` processes, as by the workers of a Beam job; one process then
verifies and groups. The hashes are clustered, as those of photographs are. Planted are pairs of copies that differ in 0
to 10 bits, and two crowds of `--num_crowd` different pictures each: one shares a hash, the other has hashes that differ
from one hash in up to 3 bits.
"""

import argparse
import concurrent.futures
import multiprocessing
import resource
import time
from collections.abc import Sequence

import numpy as np

from preprocessing.curation import duplicate_groups, hash_search
from preprocessing.curation.duplicate_groups import HashMatches, SimilarityThresholds
from preprocessing.curation.fingerprints import THUMBNAIL_SIDE, Fingerprint

NUM_PLANTED = 1_000  # pairs at each distance
NUM_DISTANCES = hash_search.MAX_DISTANCE + 1

Planted = list[tuple[np.ndarray, np.ndarray]]


def main() -> None:
    """Makes the fingerprints, groups them, prints the time, the recall by distance and the memory."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--num_images", type=int, default=1_000_000)
    parser.add_argument("--num_crowd", type=int, default=1_000)
    parser.add_argument("--num_workers", type=int, default=2)
    arguments = parser.parse_args()
    random = np.random.default_rng(0)
    hashes = clustered_hashes(random, arguments.num_images)
    thumbnails = random.integers(0, 256, (len(hashes), 3 * THUMBNAIL_SIDE**2), dtype=np.uint8)
    planted = plant_copies(random, hashes, thumbnails, 2 * arguments.num_crowd)
    plant_crowds(random, hashes, arguments.num_crowd)
    started_secs = time.perf_counter()
    matches = search(hashes, arguments.num_workers)
    searched_secs = time.perf_counter()
    group_ids = group(hashes, thumbnails, matches)
    grouped_secs = time.perf_counter()
    print(f"{len(hashes):,} hashes grouped in {grouped_secs - started_secs:.1f} s by {arguments.num_workers} workers:")
    print(f"{searched_secs - started_secs:.1f} s to search, {grouped_secs - searched_secs:.1f} s to verify and group")
    print(f"{len(matches.pairs):,} pairs of similar hashes; {len(group_ids):,} images in groups")
    print_recall(planted, group_ids)
    print(f"at most {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6:.1f} GB of memory in the main process")


def clustered_hashes(random: np.random.Generator, number: int) -> np.ndarray:
    """Returns uint64 `[number]`: around a tenth as many centres, each with about an eighth of its bits changed."""
    centres = random.integers(0, 2**64, max(1, number // 10), dtype=np.uint64)
    coins = random.integers(0, 2**64, (3, number), dtype=np.uint64)
    return centres[random.integers(0, len(centres), number)] ^ (coins[0] & coins[1] & coins[2])


def plant_copies(random: np.random.Generator, hashes: np.ndarray, thumbnails: np.ndarray, start: int) -> Planted:
    """Makes pictures from `start` on copies of others, 0 to 10 bits apart; returns their places by distance."""
    places = random.permutation(np.arange(start, len(hashes)))[: NUM_DISTANCES * 2 * NUM_PLANTED]
    planted = [(originals, copies) for originals, copies in places.reshape(NUM_DISTANCES, 2, NUM_PLANTED)]
    for distance, (originals, copies) in enumerate(planted):
        thumbnails[copies] = thumbnails[originals]
        hashes[copies] = hashes[originals]
        order = np.argsort(random.random((NUM_PLANTED, 64)), axis=1)[:, :distance].astype(np.uint64)
        hashes[copies] ^= np.bitwise_or.reduce(np.uint64(1) << order, axis=1)
    return planted


def plant_crowds(random: np.random.Generator, hashes: np.ndarray, number: int) -> None:
    """Gives the first pictures one hash, and as many next ones hashes that differ from another in up to 3 bits."""
    hashes[:number] = hashes[0]
    bits = np.uint64(1) << random.integers(0, 64, (3, number), dtype=np.uint64)
    hashes[number : 2 * number] = hashes[number] ^ np.bitwise_or.reduce(bits)


def search(hashes: np.ndarray, num_workers: int) -> HashMatches:
    """Returns the matches among the hashes, each process searching its part of the tables."""
    parts = [hash_search.TABLES[worker::num_workers] for worker in range(num_workers)]
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(num_workers, mp_context=context) as pool:
        return HashMatches.merge(list(pool.map(search_tables, [hashes] * num_workers, parts)))


def search_tables(hashes: np.ndarray, tables: Sequence[hash_search.Table]) -> HashMatches:
    """Returns the matches that some of the tables find."""
    return duplicate_groups.match_hashes(hashes, np.empty(0, np.uint64), tables)


def group(hashes: np.ndarray, thumbnails: np.ndarray, matches: HashMatches) -> dict[int, str]:
    """Returns the group id of each picture, by its place, that has a near-duplicate."""
    suspected = np.flatnonzero(np.isin(hashes, np.array(sorted(matches.hashes), np.uint64)))
    suspects = {
        f"{place:064x}": Fingerprint(place.to_bytes(16, "big"), int(hashes[place]), thumbnails[place].tobytes(), True)
        for place in suspected.tolist()
    }
    groups = duplicate_groups.group_suspects(suspects, matches.pairs, len(hashes), SimilarityThresholds())
    return {int(digest, 16): group_id for digest, group_id in groups.group_ids.items()}


def print_recall(planted: Planted, group_ids: dict[int, str]) -> None:
    """Prints how many of the planted pairs are in one group, by their distance."""
    for distance, (originals, copies) in enumerate(planted):
        pairs = zip(originals.tolist(), copies.tolist(), strict=True)
        num_found = sum(group_ids.get(original, "") == group_ids.get(copy) for original, copy in pairs)
        print(f"distance {distance:2d}: {num_found:,} of {len(originals):,} planted pairs found")


if __name__ == "__main__":
    main()
