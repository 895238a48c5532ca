"""What every source gives: rows of image, label and split, and the class names."""

import unicodedata
from collections.abc import Iterator, Sequence
from typing import NamedTuple, Protocol

from preprocessing import storage
from preprocessing.errors import UserError
from preprocessing.quarantine import QuarantinedRow


class Row(NamedTuple):
    """One input row: the image at `path`, called `name` in the record; `split` is "" where the content decides."""

    path: str
    name: str
    label: str
    split: str


class Source(Protocol):
    """Where the rows come from; small enough to travel to every worker."""

    @property
    def class_names(self) -> tuple[str, ...]:
        """The classes, in the order of their numbers."""

    @property
    def has_splits(self) -> bool:
        """Whether at least one row says which split it belongs to."""

    @property
    def units(self) -> Sequence[tuple[str, str, str]]:
        """The parts that workers can read at the same time."""

    def read(self, unit: tuple[str, str, str]) -> Iterator[Row | QuarantinedRow]:
        """Yields every row of one part: as a row to convert, or as one that cannot be."""


def read_labels(path: str) -> tuple[str, ...]:
    """Returns the class names in a file with one per line; UserError when it is missing, empty or names one twice."""
    try:
        with storage.failures_told("read", path), storage.of(path).open_text(path) as file:
            names = tuple(line.strip() for line in file if line.strip())
    except UnicodeDecodeError as error:
        raise UserError("is not UTF-8 text", where=path, remedy="save it as UTF-8") from error
    if not names:
        raise UserError("holds no class name", where=path, remedy="write one class name per line")
    repeated = next((name for name in names if names.count(name) > 1), None) if len(set(names)) < len(names) else None
    if repeated is not None:
        raise UserError(f"names the class {repeated!r} twice", where=path)
    return names


def require_known_label(label: str, labels: Sequence[str], where: str) -> None:
    """Raises UserError when `label` is not one of `labels`."""
    if label not in labels:
        shown = ", ".join(labels[:8]) + (", ..." if len(labels) > 8 else "")
        raise UserError(f"label {label!r} is not in --labels", where=where, remedy=f"the labels are {shown}")


def require_distinct(labels: Sequence[str], where: str) -> None:
    """Raises UserError when two labels read the same: Unicode spells accents in two ways (NFC, NFD)."""
    seen: set[str] = set()
    for label in labels:
        composed = unicodedata.normalize("NFC", label)
        if composed in seen:
            what = f"two classes are called {label}, spelt in two of Unicode's ways"
            raise UserError(what, where=where, remedy="spell both the same")
        seen.add(composed)
