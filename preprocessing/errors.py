"""The one error a user is meant to read."""

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


def one_line(text: str) -> str:
    """Returns `text` with line breaks and control characters made visible, so that it cannot fake a second message."""
    return "".join(character if character.isprintable() else repr(character)[1:-1] for character in text)
