"""Arguments and exit statuses, the same for every command of the project."""

import argparse
import sys
from collections.abc import Callable, Sequence
from typing import NoReturn

from preprocessing.errors import USER_ERROR_EXIT_STATUS, UserError

INTERRUPTED_EXIT_STATUS = 130


class CommandParser(argparse.ArgumentParser):
    """An argument parser whose errors are `UserError`s, so that they read and exit like all others."""

    def __init__(self, prog: str, description: str):
        super().__init__(prog=prog, description=description, allow_abbrev=False)

    def error(self, message: str) -> NoReturn:
        """Raises UserError in place of printing the usage."""
        raise UserError(message, remedy=f"see {self.prog} --help")


def run(command: Callable[[Sequence[str]], int], program: str) -> int:
    """Runs a command on this process's arguments and returns its exit status; `--debug` shows stack traces."""
    arguments = [argument for argument in sys.argv[1:] if argument != "--debug"]
    is_debugging = "--debug" in sys.argv[1:]
    try:
        return command(arguments)
    except UserError as error:
        if is_debugging:
            raise
        print(f"{program}: {error}", file=sys.stderr)
        return USER_ERROR_EXIT_STATUS
    except KeyboardInterrupt:
        if is_debugging:
            raise
        print(f"{program}: interrupted", file=sys.stderr)
        return INTERRUPTED_EXIT_STATUS
