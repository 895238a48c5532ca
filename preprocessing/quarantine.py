"""Input rows that cannot become examples: where it showed, and why, out of two closed lists."""

import enum
import json
from typing import NamedTuple


class Stage(enum.StrEnum):
    """Where on the road a row was stopped."""

    SOURCE = "source"  # reading the folder, CSV or JSONL
    PATH = "path"  # judging where the path leads
    READ = "read"  # reading the file
    HEADER = "header"  # magic bytes, sizes, completeness
    DECODE = "decode"  # turning it into pixels
    WRITE = "write"  # putting it into a shard


class Reason(enum.StrEnum):
    """Why a row was stopped."""

    MALFORMED_ROW = "malformed_row"
    NO_LABEL = "no_label"
    SEVERAL_LABELS = "several_labels"
    PATH_MALFORMED = "path_malformed"
    PATH_NOT_ALLOWED = "path_not_allowed"
    NOT_FOUND = "not_found"
    NOT_A_FILE = "not_a_file"
    NOT_READABLE = "not_readable"
    EMPTY_FILE = "empty_file"
    TOO_MANY_BYTES = "too_many_bytes"
    NOT_AN_IMAGE = "not_an_image"
    FORMAT_NOT_ENABLED = "format_not_enabled"
    TRUNCATED = "truncated"
    DAMAGED = "damaged"
    TOO_MANY_PIXELS = "too_many_pixels"
    UNSUPPORTED_MODE = "unsupported_mode"
    CHANGED_WHILE_CONVERTING = "changed_while_converting"


class RejectedError(Exception):
    """One row cannot be used; never leaves the stage that raised it, where it becomes a `QuarantinedRow`."""

    def __init__(self, reason: Reason, detail: str = ""):
        self.reason = reason
        self.detail = detail
        super().__init__(f"{reason}: {detail}")


class QuarantinedRow(NamedTuple):
    """One line of `quarantine.jsonl`; `path` is the input's own spelling, or `MANIFEST:LINE` when there is none."""

    path: str
    stage: str
    reason: str
    detail: str

    def to_json(self) -> str:
        """Returns the line, without its line break; ASCII only, so that hostile names stay visible."""
        return json.dumps(self._asdict())


def quarantined(path: str, stage: Stage, rejected: RejectedError) -> QuarantinedRow:
    """Returns the quarantine entry of the row at `path` that `stage` rejected."""
    return QuarantinedRow(path, stage.value, rejected.reason.value, rejected.detail)
