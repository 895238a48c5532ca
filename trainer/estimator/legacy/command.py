"""The command line of legacy programs, for `tpu-images legacy` and `python -m trainer.estimator.legacy`."""

from collections.abc import Sequence

from preprocessing.command_line import CommandParser
from trainer.estimator.legacy import program, table

_DESCRIPTION = "Run a program written for TensorFlow 1 or TPUEstimator, unmodified, on today's TensorFlow."
_EPILOG = "The program's --tpu (or TPU_NAME) is local, gpu, mock:8 (eight virtual CPU devices) or empty."


def main(argv: Sequence[str]) -> int:
    """Runs the program; returns its exit status.

    Raises:
      UserError: there is no such script, or it uses a name that is not provided.
    """
    words = list(argv)
    split = words.index("--") if "--" in words else len(words)
    options = _parser().parse_args(words[:split])
    if options.names:
        print("\n".join(provided_names()))
        return 0
    if options.script is None:
        _parser().error("give the script to run")
    version = None if options.tensorflow == "auto" else int(options.tensorflow)
    return program.run(options.script, words[split + 1 :], version)


def provided_names() -> list[str]:
    """Returns the names of the table, sorted, with what stands for each."""
    lines = [f"{path}.{name} = {target}" for path, row in table.MODULES.items() for name, target in row.names.items()]
    return sorted([*lines, *(f"{path}.* = {row.rest}" for path, row in table.MODULES.items() if row.rest)])


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
