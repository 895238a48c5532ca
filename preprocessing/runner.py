"""Which Beam runner a job runs on, and the flags that it gets."""

import dataclasses
import logging
from collections.abc import Sequence
from typing import Any

import apache_beam as beam
from apache_beam.options import pipeline_options
from apache_beam.runners import runner as beam_runner
from apache_beam.runners.portability.fn_api_runner import FnApiRunner

from preprocessing import command_line, storage
from preprocessing.errors import UserError, nearest

DIRECT_RUNNER = "DirectRunner"
_LOCAL_RUNNERS = (DIRECT_RUNNER, "FnApiRunner", "BundleBasedDirectRunner")
_RUNNERS = (*_LOCAL_RUNNERS, "DataflowRunner", "FlinkRunner", "SparkRunner", "PortableRunner", "PrismRunner")


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


def create_pipeline(options: RunnerOptions, places: Sequence[str]) -> beam.Pipeline:
    """Returns an empty pipeline on the runner that was asked for; raises UserError when that cannot work.

    `places` are those that the workers read and write.
    """
    if options.name == "DataflowRunner":
        for place in places:
            if not storage.is_remote(place):
                raise UserError("DataflowRunner cannot reach this place", where=place, remedy="use a gs:// path")
    # The failure of a step reaches the user once, from whoever catches it. Elsewhere the runner's log is the progress.
    logging.getLogger("apache_beam").setLevel(logging.CRITICAL if options.is_local else logging.INFO)
    beam_options = pipeline_options.PipelineOptions([*_worker_flags(options), *options.flags])
    try:
        # By its name, "DirectRunner" would first try to download the Prism runner.
        runner: beam_runner.PipelineRunner | str = FnApiRunner() if options.is_local else options.name
        return beam.Pipeline(runner=runner, options=beam_options)
    except ValueError as error:
        raise UserError(" ".join(str(error).split()), where=f"--runner={options.name}") from error


def _worker_flags(options: RunnerOptions) -> list[str]:
    if not options.is_local:
        return [f"--num_workers={options.num_workers}"]
    if options.num_workers == 1:
        return []
    return [f"--direct_num_workers={options.num_workers}", "--direct_running_mode=multi_processing"]
