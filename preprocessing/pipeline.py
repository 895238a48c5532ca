"""The Beam job: rows -> scanned images -> splits -> shards -> one file of results."""

import collections
import dataclasses
import json
from collections.abc import Iterable
from typing import Any

import apache_beam as beam
from apache_beam import pvalue

from preprocessing import curated_steps, groups, schema, storage, transforms, writer
from preprocessing.dataset_info import RowCounts, ShardInfo
from preprocessing.options import ConvertOptions
from preprocessing.quarantine import QuarantinedRow
from preprocessing.rows import Source
from preprocessing.split import SplitFractions
from preprocessing.worker import WorkerOptions

RESULTS_FILE = "results.json"


@dataclasses.dataclass(frozen=True)
class Places:
    """Where a job leaves its files: `staging` becomes the dataset; `progress` is "" where nobody watches.

    With `num_processes`, each worker has so many processes beside it.
    """

    staging: str
    progress: str
    num_processes: int = 0


@dataclasses.dataclass(frozen=True)
class Results:
    """What a job did; `quarantined`, `moved` and `dropped` count rows by reason."""

    num_rows: int
    shards: tuple[writer.WrittenShard, ...]
    quarantined: dict[str, int]
    moved: dict[str, int]
    dropped: dict[str, int]

    @property
    def row_counts(self) -> RowCounts:
        """Where every row went; raises ValueError unless each is accounted for."""
        written = sum(shard.info.num_examples for shard in self.shards)
        return RowCounts(self.num_rows, written, sum(self.quarantined.values()), sum(self.dropped.values()))

    def to_json(self) -> str:
        """Returns the results as JSON."""
        return json.dumps(dataclasses.asdict(self))

    @classmethod
    def from_json(cls, text: str) -> "Results":
        """Returns the results that `to_json` wrote."""
        fields = json.loads(text)
        shards = tuple(
            writer.WrittenShard(split, ShardInfo(**info), tuple(class_counts))
            for split, info, class_counts in fields["shards"]
        )
        return cls(**{**fields, "shards": shards})


def build(pipeline: beam.Pipeline, source: Source, options: ConvertOptions, places: Places) -> None:
    """Adds the whole job to a pipeline.

    When it has run, `places.staging` holds the shards, the lists of quarantined and changed rows, and RESULTS_FILE.
    """
    num_threads = max(storage.of(place).num_threads for place in (options.input, *options.allowed_prefixes))
    worker_options = WorkerOptions(num_threads, places.num_processes, places.progress, options.images.max_pixels)
    rows = _read_rows(pipeline, source)
    batches = rows.rows | "SpreadRows" >> beam.Reshuffle()
    select: Any = curated_steps.select if options.curation else _select
    selected = select(batches, source, options, worker_options)
    class_indices = {name: index for index, name in enumerate(source.class_names)}
    rules = writer.ShardRules(class_indices, options.label_offset, options.images)
    write = transforms.WriteShard(places.staging, rules, worker_options)
    written = _by_shard(selected.images, options.num_shards) | "WriteShards" >> beam.ParDo(write).with_outputs(
        transforms.QUARANTINED, main="shards"
    )
    quarantined = (
        rows[transforms.QUARANTINED],
        selected.quarantined,
        written[transforms.QUARANTINED],
    ) | "Quarantined" >> beam.Flatten()
    results = (
        pipeline
        | "Once" >> beam.Create([places.staging])
        | "WriteResults"
        >> beam.Map(
            write_results,
            pvalue.AsIter(rows[transforms.NUM_ROWS]),
            pvalue.AsIter(written.shards),
            pvalue.AsIter(quarantined),
            pvalue.AsIter(selected.changes),
        )
    )
    if options.curation:
        row_counts = results | "RowCounts" >> beam.Map(lambda written: written.row_counts)
        write_report = curated_steps.WriteReport(source, options, places.staging)
        curated_steps.add_report(row_counts, selected, quarantined, write_report)


def _read_rows(pipeline: beam.Pipeline, source: Source) -> Any:
    read = beam.ParDo(transforms.ReadRows(source))
    tagged = read.with_outputs(transforms.QUARANTINED, transforms.NUM_ROWS, main="rows")
    return pipeline | "ListUnits" >> beam.Create(list(source.units)) | "ReadRows" >> tagged


def _select(batches: Any, source: Source, options: ConvertOptions, worker_options: WorkerOptions) -> groups.Selected:
    """Scans the images and gives each its split.

    Copies of an image have one digest, and so one split, unless the input says otherwise for some of them: only then do
    they have to meet, which costs as much as all the rest of the job.
    """
    scan = transforms.ScanImages(options.images, worker_options)
    scanned = batches | "ScanImages" >> beam.ParDo(scan).with_outputs(transforms.QUARANTINED, main="images")
    fractions = options.fractions or SplitFractions()
    if not source.has_splits:
        assign = transforms.AssignSplits(fractions, options.seed)
        images = scanned.images | "AssignSplits" >> beam.ParDo(assign)
        no_changes = batches.pipeline | "NoChanges" >> beam.Create([])
        return groups.Selected(images, no_changes, scanned[transforms.QUARANTINED])
    assigned = (
        scanned.images
        | "ByDigest" >> beam.FlatMap(groups.by_digest)
        | "GroupCopies" >> beam.GroupByKey()
        | "AssignGroups"
        >> beam.ParDo(groups.AssignGroups(fractions, options.seed)).with_outputs(groups.CHANGES, main="images")
    )
    return groups.Selected(assigned.images, assigned[groups.CHANGES], scanned[transforms.QUARANTINED])


def _by_shard(images: Any, num_shards: int) -> Any:
    """Groups `(split, batch)` by shard, every shard included."""
    split_bytes = images | "SplitBytes" >> beam.Map(transforms.split_bytes) | beam.CombinePerKey(sum)
    all_shards = split_bytes | "ListShards" >> beam.ParDo(transforms.ListShards(num_shards))
    assigned = images | "AssignShards" >> beam.ParDo(transforms.AssignShards(num_shards), pvalue.AsDict(split_bytes))
    return (all_shards, assigned) | "AllShards" >> beam.Flatten() | "GroupByShard" >> beam.GroupByKey()


def write_results(
    staging: str,
    num_rows: Iterable[int],
    shards: Iterable[writer.WrittenShard],
    quarantined: Iterable[QuarantinedRow],
    changes: Iterable[groups.Change],
) -> Results:
    """Writes the lists of quarantined and changed rows, sorted, and the file of results; returns these."""
    bad_rows, changed_rows = sorted(quarantined), sorted(changes)
    _write_lines(storage.join(staging, schema.QUARANTINE_FILE), bad_rows)
    _write_lines(storage.join(staging, schema.CHANGES_FILE), changed_rows)
    results = Results(
        num_rows=sum(num_rows),
        shards=tuple(sorted(shards, key=lambda shard: shard.info.name)),
        quarantined=_count(row.reason for row in bad_rows),
        moved=_count(row.reason for row in changed_rows if row.change == groups.MOVED),
        dropped=_count(row.reason for row in changed_rows if row.change == groups.DROPPED),
    )
    storage.write_text(storage.join(staging, RESULTS_FILE), results.to_json())
    return results


def _write_lines(path: str, entries: Iterable[QuarantinedRow | groups.Change]) -> None:
    with storage.of(path).create(path) as file:
        file.writelines(f"{entry.to_json()}\n".encode() for entry in entries)


def _count(reasons: Iterable[str]) -> dict[str, int]:
    return dict(sorted(collections.Counter(reasons).items()))
