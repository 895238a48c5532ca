"""`tpu-images convert INPUT OUTPUT`, and the same as `python -m preprocessing.task`."""

import argparse
import atexit
import contextlib
import gc
import json
import math
import pathlib
import sys
import tempfile
from collections.abc import Iterator, Sequence

from preprocessing import command_line, process_pool, sources
from preprocessing.curation.curation_options import CurationOptions
from preprocessing.curation.drops import DROPPABLE, DropRules
from preprocessing.errors import UserError
from preprocessing.options import DEFAULT_FORMATS, FORMATS, VERIFY_MODES, ConvertOptions, ImageOptions
from preprocessing.split import SplitFractions

_DEFAULTS = ConvertOptions("INPUT", "OUTPUT")
_DEFAULT_RUNNER = "DirectRunner"


def main(argv: Sequence[str]) -> int:
    """Converts what the arguments say, prints a summary, and returns the exit status.

    Raises:
      UserError: when the arguments or the input cannot be used.
    """
    parser = _parser()
    arguments, rest = parser.parse_known_args(argv)
    options = _options(arguments)
    if arguments.summary_file:
        command_line.file_to_write(arguments.summary_file, made_folder=options.output)
    source = None if arguments.dry_run else sources.open_source(options)
    _require_temporary_folder()
    if arguments.runner == _DEFAULT_RUNNER and process_pool.sensible_number(options.input):
        process_pool.warm_up()
    # Beam takes seconds to load: mistakes in our own flags and in the input are told before.
    with _kept_for_ever():
        from preprocessing import conversion, runner, summary  # noqa: PLC0415

    runner.require_known_flags(rest, list(parser._option_string_actions))
    runner_options = runner.RunnerOptions(arguments.runner, arguments.num_workers, tuple(rest))
    if source is None:
        with tempfile.TemporaryDirectory() as work_dir:
            workplace = runner.Workplace(options.input, options.output, pathlib.Path(work_dir))
            print(runner.dry_run_text(runner_options, workplace))
        return 0
    finished = None if arguments.overwrite else conversion.find_existing(options, source)
    finished = finished or conversion.convert(options, source, runner_options)
    print(summary.describe(finished, options.output))
    if arguments.summary_file:
        values = summary.values(finished, options.output)
        command_line.write_file(arguments.summary_file, json.dumps(values, indent=2) + "\n")
    return 0


def _require_temporary_folder() -> None:
    try:
        tempfile.gettempdir()
    except OSError as error:
        what = f"temporary files cannot be written ({error.strerror})"
        raise UserError(what, remedy="make room there, or name another folder in TMPDIR") from error


@contextlib.contextmanager
def _kept_for_ever() -> Iterator[None]:
    """Keeps the garbage collector from what the block makes: looking at half a million objects of Beam takes a second.

    Objects that are left at the end of the process are not looked at either.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    atexit.register(gc.freeze)
    try:
        yield
    finally:
        gc.freeze()
        if was_enabled:
            gc.enable()


def _parser() -> argparse.ArgumentParser:
    parser = command_line.CommandParser(
        "tpu-images convert", "Turn labelled images into a dataset directory of TFRecords."
    )
    add = parser.add_argument
    add("input", metavar="INPUT", help="folder with a folder per class, or CSV, or JSONL; local or gs://")
    add("output", metavar="OUTPUT", help="dataset directory to make; local or gs://")
    add(
        "--split",
        metavar="FRACTIONS",
        help="train:0.8,validation:0.1,test:0.1 (the default where the input names no splits)",
    )
    add("--labels", metavar="FILE", help="class names, one per line, in the order of their numbers")
    add(
        "--max_bad_fraction",
        type=float,
        default=_DEFAULTS.max_bad_fraction,
        help="fail when more rows are bad (%(default)s)",
    )
    add("--num_shards", type=int, default=_DEFAULTS.num_shards, help="files per split (0: by their size)")
    add("--seed", type=int, default=_DEFAULTS.seed, help="another seed gives another split (%(default)s)")
    add("--label_offset", type=int, default=_DEFAULTS.label_offset, help="1 for readers that keep 0 for background")
    add(
        "--allow_prefix",
        action="append",
        default=[],
        metavar="PLACE",
        help="further folder or gs:// prefix to read from",
    )
    add("--overwrite", action="store_true", help="replace a dataset that is there")
    _add_image_arguments(parser)
    _add_job_arguments(parser)
    return parser


def _add_job_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--curate", action="store_true", help="report what is wrong with the images: report.html, issues.csv")
    add("--drop", metavar="ISSUES", help=f"curate, and leave out images with any of {','.join(DROPPABLE)}")
    add("--runner", default=_DEFAULT_RUNNER, help="Beam runner (%(default)s); further flags go to it")
    add("--num_workers", type=int, default=1, help="processes on this machine, machines on Dataflow (%(default)s)")
    add("--dry_run", action="store_true", help="show the job for Dataflow and what it may cost; run nothing")
    add("--summary_file", metavar="FILE", help="also write the summary to FILE as JSON")


def _add_image_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    images = _DEFAULTS.images
    add(
        "--formats",
        default=",".join(DEFAULT_FORMATS),
        help=f"accepted formats, out of {','.join(FORMATS)} (%(default)s)",
    )
    add(
        "--verify",
        default=images.verify,
        choices=VERIFY_MODES,
        help="how images that need no change are checked (%(default)s)",
    )
    add(
        "--resize_short_side",
        type=int,
        default=images.resize_short_side,
        metavar="PIXELS",
        help="shrink larger images (0: no)",
    )
    add("--quality", type=int, default=images.quality, help="of JPEGs that have to be encoded anew (%(default)s)")
    add("--max_megapixels", type=_finite, default=images.max_pixels / 1e6, help="refuse larger images (%(default)s)")
    add("--max_megabytes", type=_finite, default=images.max_bytes / 1e6, help="refuse larger files (%(default)s)")


def _finite(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise argparse.ArgumentTypeError(f"{text} is not a finite number")
    return number


def _options(arguments: argparse.Namespace) -> ConvertOptions:
    images = ImageOptions(
        formats=tuple(name.strip().upper() for name in arguments.formats.split(",")),
        max_pixels=round(arguments.max_megapixels * 1e6),
        max_bytes=round(arguments.max_megabytes * 1e6),
        verify=arguments.verify,
        resize_short_side=arguments.resize_short_side,
        quality=arguments.quality,
    )
    drop = DropRules.parse(arguments.drop or "")
    return ConvertOptions(
        input=arguments.input,
        output=arguments.output,
        fractions=None if arguments.split is None else SplitFractions.parse(arguments.split),
        labels_file=arguments.labels,
        max_bad_fraction=arguments.max_bad_fraction,
        num_shards=arguments.num_shards,
        seed=arguments.seed,
        label_offset=arguments.label_offset,
        allowed_prefixes=tuple(arguments.allow_prefix),
        images=images,
        curation=CurationOptions(drop=drop) if arguments.curate or drop.issues else None,
    )


if __name__ == "__main__":
    sys.exit(command_line.run(main, "tpu-images convert"))
