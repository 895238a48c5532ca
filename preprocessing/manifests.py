"""CSV and JSONL files that list the images.

CSV columns are `path,label[,split]`, with or without a header, or AutoML's `ML_USE,path,label`.
"""

import csv
import dataclasses
import json
import os
import posixpath
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from preprocessing import paths, split, storage
from preprocessing.errors import UserError
from preprocessing.quarantine import QuarantinedRow, Reason, RejectedError, Stage, quarantined
from preprocessing.rows import Row, require_distinct, require_known_label

_PATH_WORDS = ("path", "image", "image_path", "image_uri", "filename", "file", "uri", "url", "gcs_path")
_LABEL_WORDS = ("label", "class", "category")
# Taken when there is no column of the names above: beside one, these say it in another way, such as without the folder.
_OTHER_PATH_WORDS = ("image_name", "file_name", "filepath", "file_path")
_OTHER_LABEL_WORDS = ("labels", "label_name", "class_name", "category_name")
_SPLIT_WORDS = ("split", "ml_use", "set")
_COLUMNS = (
    ("path", _PATH_WORDS),
    ("path", _OTHER_PATH_WORDS),
    ("label", _LABEL_WORDS),
    ("label", _OTHER_LABEL_WORDS),
    ("split", _SPLIT_WORDS),
)
_JSONL_SUFFIXES = (".jsonl", ".ndjson", ".json")


class ManifestEntry(NamedTuple):
    """One line as it is written."""

    line: int
    path: str
    label: str
    split: str


@dataclasses.dataclass(frozen=True)
class ManifestSource:
    """A file that names one image per row. Rows that cannot be understood are quarantined, not guessed at."""

    manifest: str
    rules: paths.PathRules
    class_names: tuple[str, ...]
    has_splits: bool

    @property
    def units(self) -> Sequence[tuple[str, str, str]]:
        """The manifest itself: text is read faster by one worker than images by all."""
        return ((self.manifest, "", ""),)

    def read(self, unit: tuple[str, str, str]) -> Iterator[Row | QuarantinedRow]:
        """Yields every row of the manifest."""
        for entry in read_entries(unit[0]):
            if isinstance(entry, QuarantinedRow):
                yield entry
                continue
            try:
                resolved = self.rules.resolve(entry.path)
            except RejectedError as rejected:
                yield quarantined(entry.path, Stage.PATH, rejected)
            else:
                name = self.rules.name(entry.path)
                yield Row(resolved, name, entry.label, split.from_word(entry.split) or "")


def open_manifest(manifest: str, labels: tuple[str, ...] | None, allowed_prefixes: tuple[str, ...]) -> ManifestSource:
    """Reads a manifest through once and returns its source; UserError when a label or split in it does not exist."""
    found: set[str] = set()
    has_splits = False
    root = posixpath.dirname(manifest) if storage.is_remote(manifest) else os.path.dirname(os.path.abspath(manifest))
    for entry in read_entries(manifest):
        if isinstance(entry, QuarantinedRow):
            continue
        if entry.line == 1 and not manifest.lower().endswith(_JSONL_SUFFIXES):
            _require_no_header(entry, root, manifest)
        split_name = split.from_word(entry.split)
        if split_name is None:
            known = ", ".join(sorted(set(split.SPLIT_WORDS.values())))
            raise UserError(f"no split called {entry.split!r}", where=f"{manifest}:{entry.line}", remedy=f"use {known}")
        if labels is not None and entry.label not in found:
            require_known_label(entry.label, labels, where=f"{manifest}:{entry.line}")
        found.add(entry.label)
        has_splits = has_splits or bool(split_name)
    if not found:
        form = '{"path": ..., "label": ...}' if manifest.lower().endswith(_JSONL_SUFFIXES) else "path,label"
        raise UserError("lists no images", where=manifest, remedy=f"write lines of {form}")
    require_distinct(sorted(found), where=manifest)
    rules = paths.PathRules.of(root, allowed_prefixes)
    return ManifestSource(manifest, rules, labels or tuple(sorted(found)), has_splits)


def _require_no_header(first: ManifestEntry, root: str, manifest: str) -> None:
    """Raises UserError when the first row must be a header of other names: read as an image, it would add a class."""
    if "/" in first.path or "." in first.path or storage.of(root).exists(storage.join(root, first.path)):
        return
    what = f"there is no image {first.path!r}; if this is a header, it lacks the columns path and label"
    raise UserError(what, where=f"{manifest}:1", remedy="name them so")


def read_entries(manifest: str) -> Iterator[ManifestEntry | QuarantinedRow]:
    """Yields the entries of a manifest; blank lines are none. UserError when the file is not UTF-8 text."""
    read = _read_jsonl if manifest.lower().endswith(_JSONL_SUFFIXES) else _read_csv
    try:
        with storage.failures_told("read", manifest), storage.of(manifest).open_text(manifest) as file:
            yield from read(file, manifest)
    except UnicodeDecodeError as error:
        raise UserError("is not UTF-8 text", where=manifest, remedy="save it as UTF-8") from error


def _read_csv(file: Iterator[str], manifest: str) -> Iterator[ManifestEntry | QuarantinedRow]:
    reader = csv.reader(file)
    columns: Mapping[str, int] | None = None
    try:
        for cells in reader:
            if not any(cell.strip() for cell in cells):
                continue
            if columns is None:
                columns = _header_columns(cells)
                if columns is not None:
                    continue
                columns = _columns_by_place(cells)
            yield _csv_entry(cells, columns, reader.line_num, manifest)
    except csv.Error as error:
        raise UserError(f"is not a CSV file ({error})", where=f"{manifest}:{reader.line_num}") from error


def _header_columns(cells: Sequence[str]) -> Mapping[str, int] | None:
    """Returns the columns that the first row names, None when it is not a header."""
    columns: dict[str, int] = {}
    for column, words in _COLUMNS:
        for index, cell in enumerate(cells):
            if cell.strip().lower() in words:
                columns.setdefault(column, index)
    return columns if {"path", "label"} <= columns.keys() else None


def _columns_by_place(cells: Sequence[str]) -> Mapping[str, int]:
    """Returns the columns of a file without header: AutoML's order when the first cell is a split, not a path."""
    if len(cells) >= 3 and split.from_word(cells[0]) is not None:
        return {"split": 0, "path": 1, "label": 2}
    return {"path": 0, "label": 1, "split": 2}


def _csv_entry(
    cells: Sequence[str], columns: Mapping[str, int], line: int, manifest: str
) -> ManifestEntry | QuarantinedRow:
    values = {name: cells[index].strip() if index < len(cells) else "" for name, index in columns.items()}
    is_automl = columns.get("split") == 0 and len(columns) == 3
    if is_automl and any(cell.strip() for cell in cells[3:]):
        rejected = RejectedError(Reason.SEVERAL_LABELS, ", ".join(cells[2:]))
        return quarantined(values["path"] or f"{manifest}:{line}", Stage.SOURCE, rejected)
    return _entry(line, values["path"], values["label"], values.get("split", ""), manifest)


def _read_jsonl(file: Iterator[str], manifest: str) -> Iterator[ManifestEntry | QuarantinedRow]:
    for line, text in enumerate(file, start=1):
        if text.strip():
            yield _json_entry(text, line, manifest)


def _json_entry(text: str, line: int, manifest: str) -> ManifestEntry | QuarantinedRow:
    try:
        fields = json.loads(text)
        path, label, split_name = fields["path"], fields.get("label"), fields.get("split") or ""
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        rejected = RejectedError(Reason.MALFORMED_ROW, f"not an object with path and label ({error!r})"[:200])
        return quarantined(f"{manifest}:{line}", Stage.SOURCE, rejected)
    if isinstance(label, list):
        return quarantined(f"{manifest}:{line}", Stage.SOURCE, RejectedError(Reason.SEVERAL_LABELS, repr(label)[:200]))
    if isinstance(label, int) and not isinstance(label, bool):
        label = str(label)
    if not all(isinstance(value, str) for value in (path, label or "", split_name)):
        rejected = RejectedError(Reason.MALFORMED_ROW, "path, label and split must be text")
        return quarantined(f"{manifest}:{line}", Stage.SOURCE, rejected)
    return _entry(line, path, (label or "").strip(), split_name, manifest)


def _entry(line: int, path: str, label: str, split_name: str, manifest: str) -> ManifestEntry | QuarantinedRow:
    if not path:
        return quarantined(f"{manifest}:{line}", Stage.SOURCE, RejectedError(Reason.MALFORMED_ROW, "no path"))
    if not label:
        return quarantined(path, Stage.SOURCE, RejectedError(Reason.NO_LABEL))
    if not label.isprintable():
        return quarantined(path, Stage.SOURCE, RejectedError(Reason.MALFORMED_ROW, f"the label is {label!r}"[:200]))
    return ManifestEntry(line, path, label, split_name)
