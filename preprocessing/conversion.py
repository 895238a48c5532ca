"""One conversion from beginning to end: look at the input, run the job, judge its result, publish the dataset."""

import collections
import contextlib
import dataclasses
import importlib.metadata
import pathlib
import platform
import tempfile
import time

from preprocessing import output, pipeline, process_pool, progress, runner, schema, storage
from preprocessing.dataset_info import DatasetInfo, SplitInfo
from preprocessing.errors import UserError
from preprocessing.options import ConvertOptions
from preprocessing.rows import Source

_RECORDED_PACKAGES = ("tpu-images", "apache-beam", "pillow", "numpy")


@dataclasses.dataclass(frozen=True)
class Conversion:
    """A finished conversion; `results` is None and `elapsed_secs` 0 when the dataset was there already."""

    info: DatasetInfo
    results: pipeline.Results | None
    elapsed_secs: float


def find_existing(options: ConvertOptions, source: Source) -> Conversion | None:
    """Returns the finished conversion when the dataset is there already, made with the same options; None without one.

    Raises:
      UserError: when something else is at the output.
    """
    with storage.failures_told("read", options.output):
        existing = output.existing_dataset(options.output)
    if existing is None:
        return None
    if existing.options != options.to_record() or existing.class_names != source.class_names:
        what = "holds a dataset made with other options or classes"
        raise UserError(what, where=options.output, remedy="--overwrite replaces it")
    if not output.is_complete(options.output, existing):
        raise UserError("holds a damaged dataset", where=options.output, remedy="--overwrite makes it anew")
    return Conversion(existing, None, 0.0)


def convert(options: ConvertOptions, source: Source, runner_options: runner.RunnerOptions) -> Conversion:
    """Makes the dataset directory `options.output`, in place of a dataset that is there.

    Raises:
      UserError: when too many rows are bad, the output cannot be written, or something that is no dataset is there.
    """
    with storage.failures_told("read", options.output):
        output.require_ours(options.output)
    started_secs = time.monotonic()
    # Images that cannot be read are quarantined: what fails here is the output.
    with storage.failures_told("written", options.output), output.staging(options.output) as staging:
        _run_job(staging, options, source, runner_options)
        results = pipeline.Results.from_json(storage.read_text(storage.join(staging, pipeline.RESULTS_FILE)))
        _require_few_bad_rows(results, options, staging)
        if not results.row_counts.written:
            raise UserError("--drop leaves no image", where=options.input, remedy="drop fewer issues")
        info = dataset_info(results, source.class_names, options)
        output.publish(staging, options.output, info)
        storage.of(options.output).remove(failed_list(options.output))
    return Conversion(info, results, time.monotonic() - started_secs)


def _run_job(staging: str, options: ConvertOptions, source: Source, runner_options: runner.RunnerOptions) -> None:
    # Within a local staging folder, what a killed job leaves here is removed with it.
    with tempfile.TemporaryDirectory(dir=None if storage.is_remote(staging) else staging) as work_dir:
        workplace = runner.Workplace(options.input, options.output, pathlib.Path(work_dir))
        job = runner.create_pipeline(runner_options, workplace)
        progress_folder = work_dir if runner_options.is_local else ""
        is_alone = runner_options.is_local and runner.is_one_process(job)
        num_processes = process_pool.sensible_number(options.input) if is_alone else 0
        pipeline.build(job, source, options, pipeline.Places(staging, progress_folder, num_processes))
        with progress.shown(progress_folder) if progress_folder else contextlib.nullcontext():
            runner.run_to_end(job, runner_options, workplace)


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
    return DatasetInfo(class_names, splits, results.row_counts, options.label_offset, options.to_record(), _versions())


def failed_list(path: str) -> str:
    """Returns where the quarantine list of a failed conversion to `path` is left."""
    return f"{path.rstrip('/')}.{schema.QUARANTINE_FILE}"


def _require_few_bad_rows(results: pipeline.Results, options: ConvertOptions, staging: str) -> None:
    num_bad = sum(results.quarantined.values())
    is_empty = num_bad == results.num_rows
    if not is_empty and num_bad <= options.max_bad_fraction * results.num_rows:
        return
    kept = failed_list(options.output)
    storage.write_text(kept, storage.read_text(storage.join(staging, schema.QUARANTINE_FILE)))
    common = max(results.quarantined, key=lambda reason: results.quarantined[reason])
    more = "" if is_empty else f"; --max_bad_fraction allows more than {options.max_bad_fraction:.2%}"
    raise UserError(
        f"{num_bad:,} of {results.num_rows:,} images cannot be used, most often because of {common!r}",
        where=options.input,
        remedy=f"they are listed in {kept}{more}",
    )


def _versions() -> dict[str, str]:
    packages = {name: importlib.metadata.version(name) for name in _RECORDED_PACKAGES}
    return {"python": platform.python_version(), **packages}
