"""Which Beam runner a job runs on, and the flags that it gets."""

import contextlib
import dataclasses
import gc
import logging
import pathlib
import tempfile
import types
from collections.abc import Iterator, Sequence
from typing import Any

import apache_beam as beam
from apache_beam.options import pipeline_options
from apache_beam.runners import runner as beam_runner
from apache_beam.runners.portability.fn_api_runner import FnApiRunner
from apache_beam.runners.worker import statesampler

from preprocessing import beam_processes, command_line
from preprocessing.errors import UserError, nearest

DIRECT_RUNNER = "DirectRunner"
DATAFLOW_RUNNER = "DataflowRunner"
_MULTI_PROCESSING = "multi_processing"
_LOCAL_RUNNERS = (DIRECT_RUNNER, "FnApiRunner", "BundleBasedDirectRunner")
_RUNNERS = (*_LOCAL_RUNNERS, DATAFLOW_RUNNER, "FlinkRunner", "SparkRunner", "PortableRunner", "PrismRunner")


@dataclasses.dataclass(frozen=True)
class RunnerOptions:
    """Where the job runs; `flags` are Beam's own. Raises UserError for what cannot be right.

    `num_workers` is the number of processes on this machine, or of machines where the runner has several.
    """

    name: str = DIRECT_RUNNER
    num_workers: int = 1
    flags: tuple[str, ...] = ()

    def __post_init__(self):
        if "." not in self.name and self.name not in _RUNNERS:
            remedy = nearest(self.name, _RUNNERS, ", ".join(_RUNNERS))
            raise UserError(f"no runner called {self.name!r}", where="--runner", remedy=remedy)
        if self.num_workers < 1:
            raise UserError("must be at least 1", where="--num_workers")

    @property
    def is_local(self) -> bool:
        """Whether the workers are processes of this machine that see its files."""
        return self.name in _LOCAL_RUNNERS


def require_known_flags(flags: Sequence[str], own_flags: Sequence[str]) -> None:
    """Raises UserError for a flag that is not one of Beam's, proposing the most similar one of ours or Beam's."""
    beam_parser: Any = command_line.CommandParser("", "")
    for options_class in pipeline_options.PipelineOptions.__subclasses__():
        options_class._add_argparse_args(beam_parser)
    _, unknown = beam_parser.parse_known_args(flags)
    for word in unknown:
        known = [*own_flags, *beam_parser._option_string_actions]
        raise UserError("no such flag", where=word, remedy=nearest(word.partition("=")[0], known, "see --help"))


@dataclasses.dataclass(frozen=True)
class Workplace:
    """What a job needs besides its options: the places that workers read and write, and a folder for its own files."""

    input_path: str
    output_path: str
    work_dir: pathlib.Path


def create_pipeline(options: RunnerOptions, workplace: Workplace) -> beam.Pipeline:
    """Returns an empty pipeline on the runner that was asked for; raises UserError when that cannot work."""
    beam_options = _beam_options(options, workplace)
    # The failure of a step reaches the user once, from whoever catches it. Elsewhere the runner's log is the progress.
    logging.getLogger("apache_beam").setLevel(logging.CRITICAL if options.is_local else logging.INFO)
    try:
        # By its name, "DirectRunner" would first try to download the Prism runner.
        runner: beam_runner.PipelineRunner | str = FnApiRunner() if options.is_local else options.name
        with _temporary_files_in(workplace.work_dir):
            return beam.Pipeline(runner=runner, options=beam_options)
    except ValueError as error:
        raise UserError(" ".join(str(error).split()), where=f"--runner={options.name}") from error


@contextlib.contextmanager
def _temporary_files_in(folder: pathlib.Path) -> Iterator[None]:
    """Has Beam make its folders in one that is removed: it leaves the package for Dataflow, and after Ctrl-C others."""
    before = tempfile.tempdir
    tempfile.tempdir = str(folder)
    try:
        yield
    finally:
        tempfile.tempdir = before


def is_one_process(pipeline: beam.Pipeline) -> bool:
    """Whether a runner of this machine runs all steps in this process; Beam's own flags may say so, too."""
    return pipeline.options.view_as(pipeline_options.DirectOptions).direct_running_mode != _MULTI_PROCESSING


def run_to_end(pipeline: beam.Pipeline, options: RunnerOptions, workplace: Workplace) -> None:
    """Runs a job and waits for its end; raises UserError when it fails for a reason that is the user's to mend."""
    if options.name == DATAFLOW_RUNNER:
        with _temporary_files_in(workplace.work_dir):
            _dataflow().run_to_end(pipeline)
        return
    try:
        _run_here(pipeline)
    except UserError as error:
        # Beam appends the name of the step, which says nothing to the user.
        raise UserError(str(error).partition(" [while running")[0]) from error
    except RuntimeError as error:
        raised = _raised_in_step(error)
        if raised is error:
            raise
        raise raised from error


def _run_here(pipeline: beam.Pipeline) -> None:
    beam_processes.register()
    try:
        pipeline.run().wait_until_finish()
    except BaseException as error:  # Beam makes other errors of Ctrl-C
        beam_processes.kill_all()
        _stop_samplers()
        if isinstance(error, Exception):
            beam_processes.require_none_lost()
        raise


def _stop_samplers() -> None:
    """Ends the threads that note where time goes: Ctrl-C leaves one now and then, and the process would never end."""
    for found in gc.get_objects():
        if issubclass(type(found), statesampler.StateSampler):  # isinstance asks the object, and proxies may fail
            found.finished = True  # `stop` fails where Ctrl-C came amid `start`


def _raised_in_step(error: RuntimeError) -> BaseException:
    """Returns what a step raised and the user is to know, of Ctrl-C too: Beam makes a RuntimeError of it."""
    if isinstance(error.__context__, KeyboardInterrupt | OSError):
        return error.__context__
    # What another process raised is here the text of its trace.
    last_line = str(error).strip().rpartition("\n")[2].partition(" [while running")[0]
    for name, kind in (("UserError: ", UserError), ("OSError: ", OSError)):
        _, found, text = last_line.partition(name)
        if found:
            return kind(text)
    return error


def dry_run_text(options: RunnerOptions, workplace: Workplace) -> str:
    """Returns the job that Dataflow would be asked for, and what it may cost; UserError for another runner."""
    if options.name != DATAFLOW_RUNNER:
        raise UserError("shows a job for Dataflow", where="--dry_run", remedy=f"add --runner={DATAFLOW_RUNNER}")
    with _temporary_files_in(workplace.work_dir):
        return _dataflow().dry_run_text(_beam_options(options, workplace))


def _beam_options(options: RunnerOptions, workplace: Workplace) -> pipeline_options.PipelineOptions:
    flags = [f"--runner={options.name}", *_worker_flags(options), *options.flags]
    if options.name == DATAFLOW_RUNNER:
        flags = _dataflow().complete_flags(flags, **dataclasses.asdict(workplace))
    return pipeline_options.PipelineOptions(flags)


def _worker_flags(options: RunnerOptions) -> list[str]:
    if options.num_workers == 1:
        return []
    if not options.is_local:
        return [f"--num_workers={options.num_workers}"]
    return [f"--direct_num_workers={options.num_workers}", f"--direct_running_mode={_MULTI_PROCESSING}"]


def _dataflow() -> types.ModuleType:
    try:
        from preprocessing import dataflow  # noqa: PLC0415 - only where the extra is installed
    except ImportError as error:
        raise UserError("Google's packages are not installed", remedy="pip install 'tpu-images[gcp]'") from error
    return dataflow
