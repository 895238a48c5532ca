"""One conversion from beginning to end: look at the input, run the job, judge its result, publish the dataset."""

import collections
import dataclasses
import importlib.metadata
import platform
import tempfile
import time

from apache_beam.options.pipeline_options import PipelineOptions

from preprocessing import output, pipeline, progress, schema, sources, storage
from preprocessing.dataset_info import DatasetInfo, RowCounts, SplitInfo
from preprocessing.errors import UserError
from preprocessing.options import ConvertOptions

_RECORDED_PACKAGES = ("tpu-images", "apache-beam", "pillow", "numpy")


@dataclasses.dataclass(frozen=True)
class Conversion:
    """A finished conversion; `quarantined` and `changed` count rows by reason.

    `elapsed_secs` is 0 when the dataset was there already.
    """

    info: DatasetInfo
    quarantined: dict[str, int]
    changed: dict[str, int]
    elapsed_secs: float


def convert(options: ConvertOptions, beam_options: PipelineOptions, *, is_overwriting: bool = False) -> Conversion:
    """Makes the dataset directory `options.output`, or finds that it is there already.

    Raises:
      UserError: when the input cannot be used, too many of its rows are bad, or something else is at the output.
    """
    existing = output.existing_dataset(options.output)
    if existing is not None and not is_overwriting:
        return _already_there(existing, options)
    source = sources.open_source(options)
    started_secs = time.monotonic()
    with output.staging(options.output) as staging, tempfile.TemporaryDirectory() as progress_folder:
        with progress.shown(progress_folder):
            pipeline.run(source, options, pipeline.Places(staging, progress_folder), beam_options)
        results = pipeline.Results.from_json(storage.read_text(storage.join(staging, pipeline.RESULTS_FILE)))
        _require_few_bad_rows(results, options, staging)
        info = dataset_info(results, source.class_names, options)
        output.publish(staging, options.output, info)
        storage.of(options.output).remove(failed_list(options.output))
    return Conversion(info, results.quarantined, results.changed, time.monotonic() - started_secs)


def dataset_info(results: pipeline.Results, class_names: tuple[str, ...], options: ConvertOptions) -> DatasetInfo:
    """Returns the content of `dataset.json`; raises ValueError unless every row is accounted for."""
    by_split = collections.defaultdict(list)
    for shard in results.shards:
        by_split[shard.split].append(shard)
    splits = {
        name: SplitInfo(
            shards=tuple(shard.info for shard in shards),
            class_counts=tuple(map(sum, zip(*(shard.class_counts for shard in shards), strict=True))),
        )
        for name, shards in by_split.items()
    }
    written = sum(split.num_examples for split in splits.values())
    counts = RowCounts(results.num_rows, written, sum(results.quarantined.values()))
    return DatasetInfo(class_names, splits, counts, options.label_offset, options.to_record(), _versions())


def failed_list(path: str) -> str:
    """Returns where the quarantine list of a failed conversion to `path` is left."""
    return f"{path.rstrip('/')}.{schema.QUARANTINE_FILE}"


def _already_there(existing: DatasetInfo, options: ConvertOptions) -> Conversion:
    if existing.options != options.to_record():
        raise UserError(
            "holds a dataset made with other options", where=options.output, remedy="--overwrite replaces it"
        )
    if not output.is_complete(options.output, existing):
        raise UserError("holds a damaged dataset", where=options.output, remedy="--overwrite makes it anew")
    return Conversion(existing, {}, {}, 0.0)


def _require_few_bad_rows(results: pipeline.Results, options: ConvertOptions, staging: str) -> None:
    num_bad = sum(results.quarantined.values())
    is_empty = num_bad == results.num_rows
    if not is_empty and num_bad <= options.max_bad_fraction * results.num_rows:
        return
    kept = failed_list(options.output)
    storage.write_text(kept, storage.read_text(storage.join(staging, schema.QUARANTINE_FILE)))
    common = max(results.quarantined, key=lambda reason: results.quarantined[reason])
    raise UserError(
        f"{num_bad:,} of {results.num_rows:,} images cannot be used, most often because of {common!r}",
        where=options.input,
        remedy=f"they are listed in {kept}; --max_bad_fraction allows more than {options.max_bad_fraction:.2%}",
    )


def _versions() -> dict[str, str]:
    packages = {name: importlib.metadata.version(name) for name in _RECORDED_PACKAGES}
    return {"python": platform.python_version(), **packages}
