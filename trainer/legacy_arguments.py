"""Arguments of `tpu-images legacy` and `python -m trainer.estimator.legacy`; answers `--help` without TensorFlow."""

import dataclasses
from collections.abc import Sequence

from preprocessing.command_line import CommandParser

_DESCRIPTION = "Run a program written for TensorFlow 1 or TPUEstimator, unmodified, on today's TensorFlow."
_EPILOG = "The program's --tpu (or TPU_NAME) is local, gpu, mock:8 (eight virtual CPU devices) or empty."


@dataclasses.dataclass(frozen=True)
class LegacyArguments:
    """What to run: `script` is empty when only the names are asked for, `tensorflow_version` None for "find out"."""

    script: str
    program_arguments: tuple[str, ...]
    tensorflow_version: int | None


def parse(argv: Sequence[str]) -> LegacyArguments:
    """Returns the arguments; what follows `--` is the program's own.

    Raises:
      UserError: a flag is unknown, or there is no script.
    """
    words = list(argv)
    own_count = words.index("--") if "--" in words else len(words)
    parser = _parser()
    options = parser.parse_args(words[:own_count])
    if options.script is None and not options.names:
        parser.error("give the script to run")
    return LegacyArguments(
        script="" if options.names else options.script,
        program_arguments=tuple(words[own_count + 1 :]),
        tensorflow_version=None if options.tensorflow == "auto" else int(options.tensorflow),
    )


def _parser() -> CommandParser:
    parser = CommandParser("tpu-images legacy", _DESCRIPTION, epilog=_EPILOG)
    parser.add_argument("script", nargs="?", help="the program; its own flags follow after --")
    parser.add_argument(
        "--tensorflow",
        choices=("auto", "1", "2"),
        default="auto",
        help="which TensorFlow `import tensorflow as tf` means; auto reads it from the program",
    )
    parser.add_argument("--names", action="store_true", help="list the names that are provided, and exit")
    return parser
