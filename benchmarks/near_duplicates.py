"""Seconds to group the near-duplicates among a million fingerprints, and how many of the planted ones are found.

    python benchmarks/near_duplicates.py
    python benchmarks/near_duplicates.py --num_images=100000 --distribution=uniform

Hashes are drawn uniformly, or clustered as those of photographs of few subjects are: around a tenth as many centres,
with about a quarter of the bits drawn anew. Planted are copies that differ in 1 to 10 bits, and two crowds. One has the
same hash and thumbnail, and ends up in several groups, as none may hold more than 1,000 pictures. The other has
different pictures, whose hashes differ from one another in at most 10 bits, and among them copies that differ in 2.
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
CROWD_RADIUS = 5
COPIES_IN_CROWD = 1_000


def main() -> None:
    """Makes the images, groups them, prints the time, the recall by distance and the memory."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--num_images", type=int, default=1_000_000)
    parser.add_argument("--num_threads", type=int, default=2)
    parser.add_argument("--similar_crowd", type=int, default=20_000, help="size of the crowd of similar hashes")
    parser.add_argument("--distribution", choices=("uniform", "clustered"), default="clustered")
    arguments = parser.parse_args()
    random = np.random.default_rng(0)
    hashes = draw_hashes(random, arguments.num_images, arguments.distribution)
    thumbnails = random.integers(0, 256, (len(hashes), 192), dtype=np.uint8)
    planted = plant(random, hashes, thumbnails) | plant_crowd(random, hashes, thumbnails, arguments.similar_crowd)
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
    for where, (originals, copies) in planted.items():
        found = sum(
            groups.group_id(name(a)) == groups.group_id(name(b)) for a, b in zip(originals, copies, strict=True)
        )
        print(f"{where}: {found:,} of {len(originals):,} planted copies found")
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
    places = random.permutation(np.arange(CROWD_SIZE, len(hashes) // 2))[: 20 * COPIES_PER_DISTANCE]
    planted = {}
    for distance, (originals, copies) in enumerate(places.reshape(10, 2, COPIES_PER_DISTANCE).tolist(), start=1):
        for original, copy in zip(originals, copies, strict=True):
            hashes[copy] = flipped(random, hashes[original], distance)
        thumbnails[copies] = thumbnails[originals]
        planted[f"distance {distance:2d}"] = originals, copies
    return planted


def plant_crowd(random: np.random.Generator, hashes: np.ndarray, thumbnails: np.ndarray, size: int) -> dict:
    """Makes the last images a crowd, in place; returns the places of originals and copies in it."""
    if not size:
        return {}
    crowd = np.arange(len(hashes) - size, len(hashes))
    centre = hashes[crowd[0]]
    for place in crowd.tolist():
        hashes[place] = flipped(random, centre, int(random.integers(CROWD_RADIUS + 1)))
    originals, copies = random.permutation(crowd)[: 2 * COPIES_IN_CROWD].reshape(2, COPIES_IN_CROWD).tolist()
    for original, copy in zip(originals, copies, strict=True):
        hashes[copy] = flipped(random, hashes[original], 2)
    thumbnails[copies] = thumbnails[originals]
    return {"in a crowd, distance 2": (originals, copies)}


def flipped(random: np.random.Generator, value: np.uint64, num_bits: int) -> np.uint64:
    """Returns a hash that differs in so many bits."""
    bits = np.uint64(1) << random.permutation(64)[:num_bits].astype(np.uint64)
    return value ^ np.bitwise_or.reduce(bits, initial=np.uint64(0))


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
