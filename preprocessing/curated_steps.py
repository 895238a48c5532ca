"""The steps of a job that curates: each image is decoded once, and a report is written at the end."""

import itertools
import os.path
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

import apache_beam as beam
from apache_beam import pvalue

from preprocessing import transforms
from preprocessing.curation import dataset_findings, image_findings, image_inspection, report
from preprocessing.curation.curation_options import CurationOptions
from preprocessing.curation.dataset_summary import DatasetSummary
from preprocessing.curation.duplicate_groups import DuplicateGroups
from preprocessing.curation.image_inspection import Inspected
from preprocessing.curation.issues import Finding
from preprocessing.curation.report_content import NearDuplicateSearch, ReportContent
from preprocessing.curation.transforms import InspectedBatch, InspectedImage, curate
from preprocessing.dataset_info import RowCounts
from preprocessing.options import ConvertOptions, ImageOptions
from preprocessing.quarantine import QuarantinedRow
from preprocessing.rows import Source
from preprocessing.split import SplitFractions
from preprocessing.worker import WorkerOptions


class Selected(NamedTuple):
    """What goes on to the shards, and what goes into the report, as PCollections."""

    images: Any
    changes: Any
    quarantined: Any
    findings: Any
    summary: Any
    groups: Any


class InspectImages(transforms.WorkerDoFn):
    """Batch of rows -> batch of inspected images: read once, scanned and decoded."""

    def __init__(self, options: ImageOptions, worker_options: WorkerOptions):
        super().__init__(worker_options)
        self._options = options

    def start(self, batch: transforms.RowBatch) -> Callable[[], list[Inspected | QuarantinedRow]]:
        """Inspects one batch."""
        return self.worker.submit(len(batch.rows), image_inspection.inspect_images, batch.rows, self._options)

    def finish(self, results: list[Inspected | QuarantinedRow]) -> Iterator[Any]:
        """Yields the batch that comes of it."""
        yield from transforms.quarantined_outputs(results)
        if images := [InspectedImage(*result) for result in results if not isinstance(result, QuarantinedRow)]:
            yield InspectedBatch(images)


def select(batches: Any, source: Source, options: ConvertOptions, worker_options: WorkerOptions) -> Selected:
    """Inspects the images, gives each group of copies and near-copies its split, and drops what is to be dropped."""
    inspect = InspectImages(options.images, worker_options)
    inspected = batches | "InspectImages" >> beam.ParDo(inspect).with_outputs(transforms.QUARANTINED, main="images")
    fractions = options.fractions or SplitFractions()
    curated = curate(inspected.images, options.curation or CurationOptions(), fractions, options.seed)
    return Selected(
        curated.images,
        curated.changes,
        inspected[transforms.QUARANTINED],
        curated.findings,
        curated.summary,
        curated.groups,
    )


def add_report(row_counts: Any, selected: Selected, rejected: Any, write_report: "WriteReport") -> None:
    """Adds the step that writes the report; `row_counts` has one RowCounts, `rejected` all quarantined rows."""
    _ = row_counts | "WriteReport" >> beam.ParDo(
        write_report,
        pvalue.AsIter(selected.findings),
        pvalue.AsIter(rejected),
        pvalue.AsSingleton(selected.summary),
        pvalue.AsSingleton(selected.groups),
    )


class WriteReport(beam.DoFn):
    """Row counts, and all that was found -> the files of the report."""

    def __init__(self, source: Source, options: ConvertOptions, staging: str):
        self._class_names = source.class_names
        asked = options.fractions or SplitFractions()
        self._asked_shares = None if source.has_splits else dict(asked.fractions)
        self._options = options
        self._staging = staging

    def process(
        self,
        rows: RowCounts,
        findings: Iterable[Finding],
        rejected: Iterable[QuarantinedRow],
        summary: DatasetSummary,
        found: DuplicateGroups,
    ) -> None:
        """Writes the report."""
        curation = self._options.curation or CurationOptions()
        of_dataset = dataset_findings.of_dataset(summary, self._class_names, self._asked_shares, curation.dataset)
        of_rejected = map(image_findings.of_quarantined_row, rejected)
        content = ReportContent(
            title=os.path.basename(self._options.input.rstrip("/")),
            class_names=self._class_names,
            rows=rows,
            summary=summary,
            findings=list(itertools.chain(of_rejected, findings, of_dataset)),
            near_duplicates=NearDuplicateSearch(
                curation.similarity.max_distance,
                curation.similarity.min_correlation,
                found.min_correlation,
                found.num_refused_links,
            ),
            quality_thresholds=curation.quality,
            dataset_thresholds=curation.dataset,
        )
        report.write(self._staging, content, self._options.images)
