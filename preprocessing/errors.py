"""The one error a user is meant to read."""

import difflib
from collections.abc import Iterable

USER_ERROR_EXIT_STATUS = 2


class UserError(Exception):
    """Something the user gave us cannot be used: says what, where and what to do, in one line.

    Command lines print it without a stack trace and exit with status 2.
    """

    def __init__(self, what: str, *, where: str = "", remedy: str = ""):
        self.what = what
        self.where = where
        self.remedy = remedy
        text = f"{where}: {what}" if where else what
        super().__init__(one_line(f"{text}; {remedy}" if remedy else text))


def reason(error: Exception) -> str:
    """Returns what a parser's error says: of a key that is missing, Python says its name alone."""
    return f"it has no {error}" if isinstance(error, KeyError) else str(error)


def one_line(text: str) -> str:
    """Returns `text` with line breaks and control characters made visible, so that it cannot fake a second message."""
    return "".join(character if character.isprintable() else repr(character)[1:-1] for character in text)


def nearest(name: str, known: Iterable[str], otherwise: str) -> str:
    """Returns the remedy for a misspelt name: "did you mean X?", or `otherwise` when nothing known resembles it."""
    matches = difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)
    return f"did you mean {matches[0]}?" if matches else otherwise
