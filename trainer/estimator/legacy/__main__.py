"""`python -m trainer.estimator.legacy SCRIPT.py -- FLAGS`."""

import sys

from trainer.errors import USER_ERROR_EXIT_STATUS, UserError
from trainer.estimator.legacy import command

if __name__ == "__main__":
    try:
        sys.exit(command.main(sys.argv[1:]))
    except UserError as error:
        print(f"trainer.estimator.legacy: {error}", file=sys.stderr)
        sys.exit(USER_ERROR_EXIT_STATUS)
