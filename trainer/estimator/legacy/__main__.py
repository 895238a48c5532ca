"""`python -m trainer.estimator.legacy SCRIPT.py -- FLAGS`."""

import sys

from preprocessing import command_line
from trainer.estimator.legacy import command

if __name__ == "__main__":
    sys.exit(command_line.run(command.main, "trainer.estimator.legacy"))
