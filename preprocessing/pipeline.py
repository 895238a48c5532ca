"""The Beam job: rows -> scanned images -> splits -> shards -> one file of results."""

import dataclasses
import json
from collections.abc import Iterable
from typing import Any

import apache_beam as beam
from apache_beam import pvalue
from apache_beam.options.pipeline_options import DirectOptions, PipelineOptions, StandardOptions
from apache_beam.runners.portability.fn_api_runner import FnApiRunner

from preprocessing import schema, storage, transforms, writer
from preprocessing.dataset_info import ShardInfo
from preprocessing.options import ConvertOptions
from preprocessing.quarantine import QuarantinedRow
from preprocessing.rows import Source
from preprocessing.split import SplitFractions

RESULTS_FILE = "results.json"
DIRECT_RUNNERS = ("DirectRunner", "FnApiRunner", "BundleBasedDirectRunner")


@dataclasses.dataclass(frozen=True)
class Places:
    """Where a job leaves its files: `staging` becomes the dataset; `progress` is "" where nobody watches."""

    staging: str
    progress: str


@dataclasses.dataclass(frozen=True)
class Results:
    """What a job did; `quarantined` counts rows by reason."""

    num_rows: int
    shards: tuple[writer.WrittenShard, ...]
    quarantined: dict[str, int]

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
        return cls(fields["num_rows"], shards, fields["quarantined"])


def run(source: Source, options: ConvertOptions, places: Places, beam_options: PipelineOptions) -> None:
    """Runs the job to its end; afterwards `places.staging` holds the shards, the quarantine list and RESULTS_FILE."""
    runner_name = beam_options.view_as(StandardOptions).runner or DIRECT_RUNNERS[0]
    # By its name, "DirectRunner" would first try to download the Prism runner.
    runner = FnApiRunner() if runner_name in DIRECT_RUNNERS else runner_name
    if beam_options.view_as(DirectOptions).direct_num_workers != 1:
        beam_options.view_as(DirectOptions).direct_running_mode = "multi_processing"
    pipeline = beam.Pipeline(runner=runner, options=beam_options)
    build(pipeline, source, options, places)
    pipeline.run().wait_until_finish()


def build(pipeline: beam.Pipeline, source: Source, options: ConvertOptions, places: Places) -> None:
    """Adds the whole job to a pipeline."""
    num_threads = storage.of(options.input).num_threads
    rows = (
        pipeline
        | "ListUnits" >> beam.Create(list(source.units))
        | "ReadRows"
        >> beam.ParDo(transforms.ReadRows(source)).with_outputs(
            transforms.QUARANTINED, transforms.NUM_ROWS, main="rows"
        )
    )
    scan = transforms.ScanImages(options.images, num_threads, places.progress)
    scanned = (
        rows.rows
        | "SpreadRows" >> beam.Reshuffle()
        | "ScanImages" >> beam.ParDo(scan).with_outputs(transforms.QUARANTINED, main="images")
    )
    assign = transforms.AssignSplits(options.fractions or SplitFractions(), options.seed)
    images = scanned.images | "AssignSplits" >> beam.ParDo(assign)
    rules = writer.ShardRules(source.class_names, options.label_offset, options.images)
    write = transforms.WriteShard(places.staging, rules, num_threads, places.progress)
    written = _by_shard(images, options.num_shards) | "WriteShards" >> beam.ParDo(write).with_outputs(
        transforms.QUARANTINED, main="shards"
    )
    quarantined = (
        rows[transforms.QUARANTINED],
        scanned[transforms.QUARANTINED],
        written[transforms.QUARANTINED],
    ) | "Quarantined" >> beam.Flatten()
    _ = (
        pipeline
        | "Once" >> beam.Create([places.staging])
        | "WriteResults"
        >> beam.Map(
            write_results,
            pvalue.AsIter(rows[transforms.NUM_ROWS]),
            pvalue.AsIter(written.shards),
            pvalue.AsIter(quarantined),
        )
    )


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
) -> None:
    """Writes the quarantine list, sorted, and the file of results."""
    counts: dict[str, int] = {}
    with storage.of(staging).create(storage.join(staging, schema.QUARANTINE_FILE)) as file:
        for row in sorted(quarantined):
            counts[row.reason] = counts.get(row.reason, 0) + 1
            file.write(f"{row.to_json()}\n".encode())
    results = Results(
        sum(num_rows), tuple(sorted(shards, key=lambda shard: shard.info.name)), dict(sorted(counts.items()))
    )
    storage.write_text(storage.join(staging, RESULTS_FILE), results.to_json())
