"""Finding groups as steps of a Beam job: what travels are hashes, and the fingerprints of possible duplicates only."""

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import apache_beam as beam
import numpy as np
from apache_beam import pvalue

from preprocessing.curation import duplicate_groups, hash_search
from preprocessing.curation.duplicate_groups import DuplicateGroups, HashMatches, SimilarityThresholds
from preprocessing.curation.fingerprints import Fingerprint

# Each part of the tables is searched by one worker, which is sent all hashes: 8 bytes for each image and part.
_NUM_TABLE_PARTS = 16


class FingerprintBatch(NamedTuple):
    """The fingerprints of some images, as `(digest, fingerprint)`."""

    images: list[tuple[str, Fingerprint]]


class _Hashes(NamedTuple):
    """The hashes of distinctive images, and those of the others, both uint64 `[number]`."""

    distinctive: np.ndarray
    other: np.ndarray


class FindGroups(beam.PTransform):
    """Batches of fingerprints -> one `DuplicateGroups`, for use as a singleton side input."""

    def __init__(self, thresholds: SimilarityThresholds):
        super().__init__()
        self._thresholds = thresholds

    def expand(self, batches: Any) -> Any:
        """Builds the steps."""
        matches = (
            batches
            | "SpreadHashes" >> beam.FlatMap(_spread_hashes)
            | "GatherHashes" >> beam.GroupByKey()
            | "SearchTables" >> beam.MapTuple(_search_tables)
            | "MergeMatches" >> beam.CombineGlobally(_merge_matches)
        )
        suspects = batches | "Suspects" >> beam.FlatMap(_suspects, pvalue.AsSingleton(matches))
        num_images = batches | "Sizes" >> beam.Map(lambda batch: len(batch.images)) | "Sum" >> beam.CombineGlobally(sum)
        return (
            batches.pipeline
            | "OneGrouping" >> beam.Create([self._thresholds])
            | "GroupSuspects"
            >> beam.Map(_group, pvalue.AsIter(suspects), pvalue.AsSingleton(matches), pvalue.AsSingleton(num_images))
        )


def _spread_hashes(batch: FingerprintBatch) -> Iterator[tuple[int, _Hashes]]:
    hashes = _Hashes(*duplicate_groups.split_hashes(fingerprint for _, fingerprint in batch.images))
    return ((part, hashes) for part in range(_NUM_TABLE_PARTS))


def _search_tables(part: int, hashes: Iterable[_Hashes]) -> HashMatches:
    distinctive, other = (np.concatenate(arrays) for arrays in zip(*hashes, strict=True))
    return duplicate_groups.match_hashes(distinctive, other, hash_search.TABLES[part::_NUM_TABLE_PARTS])


def _merge_matches(parts: Iterable[HashMatches]) -> HashMatches:
    return HashMatches.merge(list(parts))


def _suspects(batch: FingerprintBatch, matches: HashMatches) -> list[tuple[str, Fingerprint]]:
    return [image for image in batch.images if image[1].perceptual_hash in matches.hashes]


def _group(
    thresholds: SimilarityThresholds,
    suspects: Iterable[tuple[str, Fingerprint]],
    matches: HashMatches,
    num_images: int,
) -> DuplicateGroups:
    return duplicate_groups.group_suspects(dict(suspects), matches.pairs, num_images, thresholds)
