"""Seconds to group the near-duplicates among a million fingerprints, and how many of the planted ones are found.

    python benchmarks/near_duplicates.py
    python benchmarks/near_duplicates.py --num_images=100000 --distribution=uniform

Hashes are drawn uniformly, or clustered as those of photographs of few subjects are: around a tenth as many centres,
with about a quarter of the bits drawn anew. Planted are copies that differ in 1 to 10 bits, and a crowd with one hash,
which ends up in several groups, as none may hold more than 1,000 pictures.
"""

import argparse
import concurrent.futures
import resource
import time

import numpy as np

from preprocessing.curation import duplicate_groups, hash_search
from preprocessing.curation.duplicate_groups import HashMatches, SimilarityThresholds
from preprocessing.curation.fingerprints import Fingerprint

COPIES_PER_DISTANCE = 1_000
CROWD_SIZE = 5_000


def main() -> None:
    """Makes the images, groups them, prints the time, the recall by distance and the memory."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--num_images", type=int, default=1_000_000)
    parser.add_argument("--num_threads", type=int, default=2)
    parser.add_argument("--distribution", choices=("uniform", "clustered"), default="clustered")
    arguments = parser.parse_args()
    random = np.random.default_rng(0)
    hashes = draw_hashes(random, arguments.num_images, arguments.distribution)
    thumbnails = random.integers(0, 256, (len(hashes), 192), dtype=np.uint8)
    planted = plant(random, hashes, thumbnails)
    started_secs, started_cpu_secs = time.perf_counter(), time.process_time()
    matches = search(hashes, arguments.num_threads)
    searched_secs = time.perf_counter() - started_secs
    groups = group(hashes, thumbnails, matches)
    elapsed_secs, cpu_secs = time.perf_counter() - started_secs, time.process_time() - started_cpu_secs
    print(
        f"{len(hashes):,} {arguments.distribution} hashes grouped in {elapsed_secs:.0f} s on {arguments.num_threads} "
        f"threads ({searched_secs:.0f} s of it to search; {cpu_secs:.0f} s of processor time)"
    )
    print(f"{len(matches.pairs):,} pairs of similar hashes, {len(set(groups.group_ids.values())):,} groups")
    for distance, (originals, copies) in planted.items():
        found = sum(
            groups.group_id(name(a)) == groups.group_id(name(b)) for a, b in zip(originals, copies, strict=True)
        )
        print(f"distance {distance:2d}: {found:,} of {len(originals):,} planted copies found")
    print(f"at most {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6:.1f} GB of memory")


def draw_hashes(random: np.random.Generator, number: int, distribution: str) -> np.ndarray:
    """Returns uint64 hashes `[number]`."""
    hashes = random.integers(0, 2**64, number, dtype=np.uint64)
    if distribution == "uniform":
        return hashes
    centres = random.integers(0, 2**64, max(1, number // 10), dtype=np.uint64)
    is_anew = np.bitwise_and(*random.integers(0, 2**64, (2, number), dtype=np.uint64))
    return (hashes & is_anew) | (centres[random.integers(0, len(centres), number)] & ~is_anew)


def plant(random: np.random.Generator, hashes: np.ndarray, thumbnails: np.ndarray) -> dict:
    """Makes some images copies of others, in place; returns the places of originals and copies by distance."""
    hashes[:CROWD_SIZE] = hashes[0]
    thumbnails[:CROWD_SIZE] = thumbnails[0]
    places = random.permutation(np.arange(CROWD_SIZE, len(hashes)))[: 20 * COPIES_PER_DISTANCE]
    planted = {}
    for distance, (originals, copies) in enumerate(places.reshape(10, 2, COPIES_PER_DISTANCE).tolist(), start=1):
        for original, copy in zip(originals, copies, strict=True):
            bits = np.uint64(1) << random.permutation(64)[:distance].astype(np.uint64)
            hashes[copy] = hashes[original] ^ np.bitwise_or.reduce(bits)
        thumbnails[copies] = thumbnails[originals]
        planted[distance] = originals, copies
    return planted


def search(hashes: np.ndarray, num_threads: int) -> HashMatches:
    """Returns the matches, the tables spread over threads as the Beam job spreads them over workers."""
    none = np.empty(0, np.uint64)
    parts = [hash_search.TABLES[start :: 8 * num_threads] for start in range(8 * num_threads)]
    with concurrent.futures.ThreadPoolExecutor(num_threads) as pool:
        return HashMatches.merge(
            list(pool.map(lambda tables: duplicate_groups.match_hashes(hashes, none, tables), parts))
        )


def group(hashes: np.ndarray, thumbnails: np.ndarray, matches: HashMatches) -> duplicate_groups.DuplicateGroups:
    """Returns the groups among the images whose hashes have matches."""
    candidates = np.concatenate([matches.pairs.ravel(), matches.repeated])
    suspects = {
        name(index): Fingerprint(index.to_bytes(16, "big"), int(hashes[index]), thumbnails[index].tobytes(), True)
        for index in np.flatnonzero(np.isin(hashes, candidates)).tolist()
    }
    return duplicate_groups.group_suspects(suspects, matches.pairs, len(hashes), SimilarityThresholds())


def name(index: int) -> str:
    """Returns what stands for the digest of an image."""
    return f"{index:064x}"


if __name__ == "__main__":
    main()
