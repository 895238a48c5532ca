"""Curation as steps of a Beam job: inspected images -> groups -> splits -> findings -> the images that are kept."""

import functools
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import apache_beam as beam
from apache_beam import pvalue

from preprocessing import groups
from preprocessing.curation import group_findings, image_findings
from preprocessing.curation.curation_options import CurationOptions
from preprocessing.curation.dataset_summary import DatasetSummary
from preprocessing.curation.duplicate_groups import DuplicateGroups
from preprocessing.curation.facts import ImageFacts
from preprocessing.curation.group_transforms import FindGroups, FingerprintBatch
from preprocessing.curation.issues import Finding
from preprocessing.reading import ScannedImage
from preprocessing.split import SplitFractions
from preprocessing.transforms import ImageBatch

FINDINGS = "findings"  # tag of an output beside the main one, as groups.CHANGES
DROPPED = "dropped"


class InspectedImage(NamedTuple):
    """A scanned image, what is known about it, and what was found so far."""

    image: ScannedImage
    facts: ImageFacts
    findings: tuple[Finding, ...] = ()


class InspectedBatch(NamedTuple):
    """Inspected images in one element."""

    images: list[InspectedImage]


class Curated(NamedTuple):
    """The results of `curate`, all PCollections.

    `images` are `(split, ImageBatch)` of what is kept, `changes` what was moved or dropped, `findings` all findings
    about images; `summary` (a DatasetSummary) and `groups` (a DuplicateGroups) have one element.
    """

    images: Any
    changes: Any
    findings: Any
    summary: Any
    groups: Any


def curate(inspected: Any, options: CurationOptions, fractions: SplitFractions, seed: int) -> Curated:
    """Adds curation to a job; `inspected` is a PCollection of `InspectedBatch`.

    Copies and near-copies meet in one group, the group gets a split, and only then is looked for what is wrong.
    """
    found = inspected | "Fingerprints" >> beam.Map(_fingerprints) | FindGroups(options.similarity)
    assign = beam.ParDo(AssignGroups(options, fractions, seed), pvalue.AsSingleton(found))
    assigned = (
        inspected
        | "ByGroup" >> beam.FlatMap(_by_group, pvalue.AsSingleton(found))
        | "GroupCopies" >> beam.GroupByKey()
        | "AssignGroups" >> assign.with_outputs(groups.CHANGES, main="images")
    )
    summary = assigned.images | "Summarize" >> beam.CombineGlobally(SummarizeImages())
    usual = summary | "UsualSides" >> beam.Map(image_findings.usual_sides, options.quality)
    judge = beam.ParDo(JudgeImages(options), pvalue.AsSingleton(usual))
    judged = assigned.images | "JudgeImages" >> judge.with_outputs(FINDINGS, groups.CHANGES, main="images")
    changes = (assigned[groups.CHANGES], judged[groups.CHANGES]) | "AllChanges" >> beam.Flatten()
    return Curated(judged.images, changes, judged[FINDINGS], summary, found)


class AssignGroups(beam.DoFn):
    """`(group id, inspected images)` -> the same with one split and what was found among them, and the changes."""

    def __init__(self, options: CurationOptions, fractions: SplitFractions, seed: int):
        self._options = options
        self._fractions = fractions
        self._seed = seed

    def process(self, element: tuple[str, Iterable[InspectedImage]], found: DuplicateGroups) -> Iterator[Any]:
        """Assigns one group."""
        group_id, members = element[0], list(element[1])
        images = [member.image for member in members]
        split = groups.group_split(images) or self._fractions.choose(group_id, self._seed)
        for change in groups.moves(images, split):
            yield pvalue.TaggedOutput(groups.CHANGES, change)
        placed = [member.facts._replace(split=split) for member in members]
        findings = group_findings.of_group(placed, found.min_correlation, self._options.similarity.max_distance)
        yield InspectedBatch(list(map(InspectedImage, images, placed, map(tuple, findings))))


class JudgeImages(beam.DoFn):
    """Inspected images -> `(split, ImageBatch)` of those that are kept, findings, and a change for each other one."""

    def __init__(self, options: CurationOptions):
        self._options = options

    def process(self, batch: InspectedBatch, usual: tuple[float, float]) -> Iterator[Any]:
        """Judges the images of one group; `usual` is the range of `image_findings.usual_sides`."""
        kept: dict[str, list[ScannedImage]] = {}
        for image, facts, of_group in batch.images:
            findings = [*of_group, *image_findings.of_image(facts, self._options.quality, usual)]
            for finding in findings:
                yield pvalue.TaggedOutput(FINDINGS, finding)
            reason = self._options.drop.reason(findings)
            if reason:
                change = groups.Change(facts.name, DROPPED, reason.issue.value, reason.detail)
                yield pvalue.TaggedOutput(groups.CHANGES, change)
            else:
                kept.setdefault(facts.split, []).append(image)
        for split, images in kept.items():
            yield split, ImageBatch(images)


class SummarizeImages(beam.CombineFn):
    """Inspected images, with their splits -> one `DatasetSummary`."""

    def create_accumulator(self) -> DatasetSummary:
        """Returns an empty summary."""
        return DatasetSummary()

    def add_input(self, accumulator: DatasetSummary, batch: InspectedBatch) -> DatasetSummary:
        """Adds the images of one batch."""
        return accumulator.add(image.facts for image in batch.images)

    def merge_accumulators(self, accumulators: Iterable[DatasetSummary]) -> DatasetSummary:
        """Adds summaries up."""
        return functools.reduce(DatasetSummary.merge, accumulators, DatasetSummary())

    def extract_output(self, accumulator: DatasetSummary) -> DatasetSummary:
        """Returns the summary itself."""
        return accumulator


def _fingerprints(batch: InspectedBatch) -> FingerprintBatch:
    return FingerprintBatch([(image.facts.digest, image.facts.fingerprint) for image in batch.images])


def _by_group(batch: InspectedBatch, found: DuplicateGroups) -> Iterator[tuple[str, InspectedImage]]:
    return ((found.group_id(image.facts.digest), image) for image in batch.images)
