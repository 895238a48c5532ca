"""What is wrong among images that show the same picture: copies, contradicting labels, leaks between splits."""

import collections
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from preprocessing.curation import fingerprints
from preprocessing.curation.facts import ImageFacts
from preprocessing.curation.issues import Finding, ImageReference, Issue


class _Member(NamedTuple):
    """An image of a group, with its place in it: two rows of the input may be equal in all else."""

    place: int
    facts: ImageFacts


_Found = Iterator[tuple[_Member, Finding]]


def of_group(images: Sequence[ImageFacts], min_correlation: float, max_distance: int) -> list[list[Finding]]:
    """Returns the findings about each image of one group, whose splits are assigned.

    Two of them are similar when their thumbnails correlate by `min_correlation` and their hashes differ in at most
    `max_distance` bits: in a group, not every image is similar to every other. Of copies, all but one are found: the
    largest, or else the first by name, is kept when what is found is dropped.
    """
    findings: list[list[Finding]] = [[] for _ in images]
    if len(images) > 1:
        members = sorted((_Member(place, image) for place, image in enumerate(images)), key=_preference)
        for member, finding in _of_members(members, min_correlation, max_distance):
            findings[member.place].append(finding)
    return findings


def _of_members(members: Sequence[_Member], min_correlation: float, max_distance: int) -> _Found:
    pictures: list[_Member] = []
    for copies in _grouped(members, lambda member: member.facts.fingerprint.pixel_digest):
        by_label = _grouped(copies, lambda member: member.facts.label)
        for same_label in by_label:
            yield from _copies(same_label)
        if len(by_label) > 1:
            yield from _label_conflicts(by_label)
        else:  # of contradicting copies nobody knows which to keep: they stand for no picture
            pictures.append(copies[0])
    yield from _similar(pictures, min_correlation, max_distance)
    yield from _leaks(members)


def _preference(member: _Member) -> tuple[float, str, str]:
    return -member.facts.properties.side_pixels, member.facts.name, member.facts.label


def _grouped(members: Iterable[_Member], key: Callable[[_Member], Hashable]) -> list[list[_Member]]:
    groups: dict[Hashable, list[_Member]] = collections.defaultdict(list)
    for member in members:
        groups[key(member)].append(member)
    return list(groups.values())


def _label_conflicts(by_label: Sequence[Sequence[_Member]]) -> _Found:
    for same_label in by_label:
        others = [other for other in by_label if other is not same_label]
        labels = ", ".join(repr(other[0].facts.label) for other in others)
        for member in same_label:
            yield _pair(Issue.LABEL_CONFLICTS, member, others[0][0], f"the same image is also {labels}")


def _copies(same_label: Sequence[_Member]) -> _Found:
    """Yields a finding for each image but the first; all have the same pixels and label."""
    first_of_file = {same_label[0].facts.digest: same_label[0]}
    for member in same_label[1:]:
        if member.facts.digest in first_of_file:
            original = first_of_file[member.facts.digest]
            yield _pair(Issue.EXACT_DUPLICATES, member, original, f"the same file as {original.facts.name}")
        else:
            original = first_of_file[member.facts.digest] = same_label[0]
            yield _pair(Issue.PIXEL_DUPLICATES, member, original, f"the same pixels as {original.facts.name}")


def _similar(pictures: Sequence[_Member], min_correlation: float, max_distance: int) -> _Found:
    """Yields near-duplicates of pictures that are kept, and similar pictures with different labels."""
    correlations, distances = _compare(pictures)
    is_similar = (correlations >= min_correlation) & (distances <= max_distance)
    labels = np.array([picture.facts.label for picture in pictures])
    is_kept = np.zeros(len(pictures), bool)
    for index, picture in enumerate(pictures):
        same_kept = is_similar[index] & (labels == labels[index]) & is_kept
        is_kept[index] = not same_kept.any()
        for issue, others in (
            (Issue.NEAR_DUPLICATES, same_kept),
            (Issue.SIMILAR_LABEL_CONFLICTS, is_similar[index] & (labels != labels[index])),
        ):
            if others.any():
                nearest = int(np.argmax(np.where(others, correlations[index], -2)))
                correlation, distance = float(correlations[index, nearest]), int(distances[index, nearest])
                detail = _describe(issue, pictures[nearest].facts, correlation, distance)
                yield _pair(issue, picture, pictures[nearest], detail, correlation)


def _describe(issue: Issue, other: ImageFacts, correlation: float, distance: int) -> str:
    also = f", which is {other.label!r}" if issue is Issue.SIMILAR_LABEL_CONFLICTS else ""
    return f"like {other.name}{also} (correlation {correlation:.3f}, {distance} of 64 bits differ)"


def _compare(pictures: Sequence[_Member]) -> tuple[np.ndarray, np.ndarray]:
    """Returns the correlations, float32, and distances, uint8, of all pairs, both `[pictures, pictures]`."""
    vectors = fingerprints.normalized_thumbnails([picture.facts.fingerprint.thumbnail for picture in pictures])
    hashes = np.array([picture.facts.fingerprint.perceptual_hash for picture in pictures], np.uint64)
    # Rounded, as the last digits of a matrix product depend on the machine.
    return np.round(vectors @ vectors.T, 5), np.bitwise_count(hashes[:, None] ^ hashes[None, :])


def _leaks(members: Sequence[_Member]) -> _Found:
    """Yields the images that the input wants in another split than the one their group went to."""
    for member in members:
        facts = member.facts
        if facts.asked_split not in ("", facts.split):
            other = next((each for each in members if each.facts.asked_split == facts.split), None)
            if other is not None:
                where = f"a copy, {other.facts.name}, is in {facts.split}"
                yield _pair(Issue.SPLIT_LEAKAGE, member, other, f"{facts.asked_split} in the input, but {where}")


def _pair(issue: Issue, member: _Member, other: _Member, detail: str, score: float = 1.0) -> tuple[_Member, Finding]:
    reference, partner = (ImageReference.of(each.facts) for each in (member, other))
    return member, Finding(issue, reference, detail, score, partner)
