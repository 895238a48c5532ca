"""Groups of images that show the same picture: identical bytes, identical pixels, or nearly the same to the eye.

All of a group belong into one split. Two steps find them: the hashes of all images (8 bytes each) say which images
could be duplicates, and then the fingerprints of those alone say which are.
"""

import bisect
import collections
import dataclasses
import functools
import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np

from preprocessing.curation import fingerprints, hash_search
from preprocessing.curation.disjoint_sets import DisjointSets
from preprocessing.curation.fingerprints import Fingerprint

# Of a crowd of images with one and the same hash, each is compared with so many others; of two such crowds, each of the
# smaller with so many of the larger: with those of the nearest brightness, as copies have.
_MAX_COMPARED_OF_SAME_HASH = 64
_MAX_COMPARED_OF_SIMILAR_HASH = 8
_PAIRS_AT_ONCE = 65_536
# Pictures of one kind, such as digits or X-rays, resemble one another without being copies. Their links grow in number
# the weaker they are; those of copies do not. From the strongest down, in steps of this correlation, links count until
# a step has more of them than all stronger steps together, more than one for each 50 images, and more than 20.
_CORRELATION_STEP = 0.01
_IMAGES_PER_CHANCE_LINK = 50
_MIN_CHANCE_LINKS = 20


@dataclasses.dataclass(frozen=True)
class SimilarityThresholds:
    """When two images count as near-duplicates; raises ValueError for values out of range.

    Both must hold: hashes that differ in at most `max_distance` of 64 bits, thumbnails with at least `min_correlation`.
    Links that would make a group of more than `max_group_images` different pictures are refused, the strongest links
    come first: where everything looks alike, one chain of resemblances would otherwise swallow the dataset.
    """

    max_distance: int = hash_search.MAX_DISTANCE
    min_correlation: float = 0.90
    max_group_images: int = 1000

    def __post_init__(self):
        if not 0 <= self.max_distance <= hash_search.MAX_DISTANCE:
            raise ValueError(f"max_distance is {self.max_distance}, not within 0..{hash_search.MAX_DISTANCE}")
        if not 0 < self.min_correlation <= 1:
            raise ValueError(f"min_correlation is {self.min_correlation}, not within 0..1")
        if self.max_group_images < 2:
            raise ValueError(f"max_group_images is {self.max_group_images}, below 2")


@dataclasses.dataclass(frozen=True)
class HashMatches:
    """Hashes of possible duplicates: `pairs`, uint64 `[pairs, 2]`, of similar hashes; `repeated` ones, uint64."""

    pairs: np.ndarray
    repeated: np.ndarray

    @functools.cached_property
    def hashes(self) -> frozenset[int]:
        """Every hash that has a match."""
        return frozenset(self.pairs.ravel().tolist()) | frozenset(self.repeated.tolist())

    @classmethod
    def merge(cls, parts: Sequence["HashMatches"]) -> "HashMatches":
        """Returns the matches of all parts, each once."""
        repeated = np.concatenate([np.empty(0, np.uint64), *(part.repeated for part in parts)])
        return cls(hash_search.merge_pairs([part.pairs for part in parts]), np.unique(repeated))


@dataclasses.dataclass(frozen=True)
class DuplicateGroups:
    """`group_ids` maps the digest of each image that has duplicates under other digests to the smallest of them.

    `min_correlation` is the one that counted: higher than asked for where the whole dataset looks alike.
    `num_refused_links` counts near-duplicate pairs that were left in different groups: one would have become too large.
    """

    group_ids: Mapping[str, str]
    min_correlation: float
    num_refused_links: int

    def group_id(self, digest: str) -> str:
        """Returns what names the group of an image: its own digest when it has no duplicates under others."""
        return self.group_ids.get(digest, digest)


def match_hashes(
    distinctive: np.ndarray, other: np.ndarray, tables: Sequence[hash_search.Table] = hash_search.TABLES
) -> HashMatches:
    """Returns the matches among the hashes, uint64 `[number]`, of images; those in `other` match only exactly."""
    values, counts = np.unique(np.concatenate([distinctive, other]), return_counts=True)
    return HashMatches(hash_search.similar_pairs(distinctive, tables), values[counts > 1])


def split_hashes(images: Iterable[Fingerprint]) -> tuple[np.ndarray, np.ndarray]:
    """Returns the hashes of distinctive images, and those of the others, both uint64 `[number]`."""
    hashes: dict[bool, list[int]] = {True: [], False: []}
    for image in images:
        hashes[image.is_distinctive].append(image.perceptual_hash)
    return np.array(hashes[True], np.uint64), np.array(hashes[False], np.uint64)


def find_groups(
    images: Iterable[tuple[str, Fingerprint]], thresholds: SimilarityThresholds | None = None
) -> DuplicateGroups:
    """Returns the groups among images, given as `(digest, fingerprint)`; a digest may come several times."""
    given = list(images)
    by_digest = dict(given)
    matches = match_hashes(*split_hashes(by_digest.values()))
    suspects = matches.hashes
    return group_suspects(
        {digest: each for digest, each in by_digest.items() if each.perceptual_hash in suspects},
        matches.pairs,
        len(given),
        thresholds or SimilarityThresholds(),
    )


def group_suspects(
    suspects: Mapping[str, Fingerprint], pairs: np.ndarray, num_images: int, thresholds: SimilarityThresholds
) -> DuplicateGroups:
    """Returns the groups among the images whose hashes have matches, given by digest, out of a dataset of `num_images`.

    `pairs` are those of `HashMatches`. The result does not depend on the order of the images.
    """
    digests = sorted(suspects)
    members = [suspects[digest] for digest in digests]
    sets = DisjointSets(len(digests))
    pictures = _join_identical(members, sets)
    links = _verified_links(members, _candidate_links(members, pictures, pairs), thresholds)
    min_correlation = _discriminating_correlation(links, num_images, thresholds.min_correlation)
    strong = itertools.takewhile(lambda link: link[0] >= min_correlation, links)
    num_refused = _join_similar(strong, sets, thresholds.max_group_images)
    return DuplicateGroups(_name_groups(digests, sets), min_correlation, num_refused)


def _join_identical(members: Sequence[Fingerprint], sets: DisjointSets) -> list[int]:
    """Joins images with identical pixels; returns one image of each picture."""
    first_with: dict[bytes, int] = {}
    for index, member in enumerate(members):
        sets.join(first_with.setdefault(member.pixel_digest, index), index)
    return list(first_with.values())


def _candidate_links(
    members: Sequence[Fingerprint], pictures: Iterable[int], pairs: np.ndarray
) -> Iterator[tuple[int, int]]:
    """Yields the pairs of pictures whose hashes are the same or similar, few of each crowd."""
    shades = [sum(member.thumbnail) for member in members]
    by_hash: dict[int, list[int]] = collections.defaultdict(list)
    for index in sorted(pictures, key=shades.__getitem__):
        if members[index].is_distinctive:
            by_hash[members[index].perceptual_hash].append(index)
    for crowd in by_hash.values():
        for place, index in enumerate(crowd):
            for other in crowd[place + 1 : place + 1 + _MAX_COMPARED_OF_SAME_HASH]:
                yield index, other
    for first, second in pairs.tolist():
        few, many = sorted((by_hash[first], by_hash[second]), key=len)
        yield from _links_between(few, many, shades)


def _links_between(few: Sequence[int], many: Sequence[int], shades: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Yields pairs of two crowds that are sorted by their shades."""
    if len(many) <= _MAX_COMPARED_OF_SIMILAR_HASH:
        yield from itertools.product(few, many)
        return
    for index in few:
        place = bisect.bisect_left(many, shades[index], key=shades.__getitem__)
        start = max(0, place - _MAX_COMPARED_OF_SIMILAR_HASH // 2)
        yield from ((index, other) for other in many[start : start + _MAX_COMPARED_OF_SIMILAR_HASH])


def _verified_links(
    members: Sequence[Fingerprint], candidates: Iterator[tuple[int, int]], thresholds: SimilarityThresholds
) -> list[tuple[float, int, int]]:
    """Returns the candidates that pass both thresholds as `(correlation, index, index)`, the strongest first."""
    vectors = fingerprints.normalized_thumbnails([member.thumbnail for member in members])
    hashes = np.array([member.perceptual_hash for member in members], np.uint64)
    links: list[tuple[float, int, int]] = []
    while chunk := list(itertools.islice(candidates, _PAIRS_AT_ONCE)):
        first, second = np.array(chunk).T
        # Not a matrix product, whose last digits depend on how many rows it is given.
        correlations = (vectors[first] * vectors[second]).sum(axis=1)
        distances = np.bitwise_count(hashes[first] ^ hashes[second])
        passed = np.flatnonzero((correlations >= thresholds.min_correlation) & (distances <= thresholds.max_distance))
        links += zip(correlations[passed].tolist(), first[passed].tolist(), second[passed].tolist(), strict=True)
    return sorted(links, key=lambda link: (-link[0], link[1:]))


def _discriminating_correlation(links: Sequence[tuple[float, int, int]], num_images: int, lowest: float) -> float:
    """Returns the least correlation at which the links, the strongest first, tell copies from mere resemblance."""
    correlations = np.array([-link[0] for link in links])
    accepted, num_stronger = 1.0, 0
    while accepted > lowest:
        step = max(lowest, round(accepted - _CORRELATION_STEP, 6))
        num_links = int(np.searchsorted(correlations, -step, side="right"))
        num_added = num_links - num_stronger
        if accepted < 1 and num_added > max(num_stronger, num_images / _IMAGES_PER_CHANCE_LINK, _MIN_CHANCE_LINKS):
            break
        accepted, num_stronger = step, num_links
    return accepted


def _join_similar(links: Iterable[tuple[float, int, int]], sets: DisjointSets, max_group_images: int) -> int:
    """Joins linked images unless their group would become too large; returns the number of links refused."""
    num_refused = 0
    for _, first, second in links:
        if sets.root(first) == sets.root(second):
            continue
        if sets.size(first) + sets.size(second) <= max_group_images:
            sets.join(first, second)
        else:
            num_refused += 1
    return num_refused


def _name_groups(digests: Sequence[str], sets: DisjointSets) -> dict[str, str]:
    """Returns the group id of each of the sorted digests that is not alone."""
    names: dict[int, str] = {}
    for index, digest in enumerate(digests):
        names.setdefault(sets.root(index), digest)
    return {digest: names[sets.root(index)] for index, digest in enumerate(digests) if sets.size(index) > 1}
