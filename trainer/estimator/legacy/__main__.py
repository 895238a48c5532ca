"""`python -m trainer.estimator.legacy SCRIPT.py -- FLAGS`."""

import sys
from collections.abc import Sequence

from preprocessing import command_line
from trainer import legacy_arguments
from trainer.estimator.legacy import command


def main(argv: Sequence[str]) -> int:
    """Runs the program; returns its exit status."""
    return command.run(legacy_arguments.parse(argv))


if __name__ == "__main__":
    sys.exit(command_line.run(main, "trainer.estimator.legacy"))
