"""Finds out what kind of input there is: a folder per class, a CSV or a JSONL file.

A source is read twice. The program that starts the job looks at it once, without opening an image, for the class names
and for mistakes that make the whole job pointless; then workers read its rows.
"""

import pathlib

from preprocessing import folders, manifests, rows, storage
from preprocessing.errors import UserError
from preprocessing.options import ConvertOptions


def open_source(options: ConvertOptions) -> rows.Source:
    """Looks at the input and returns its source.

    Raises:
      UserError: when there is nothing to read, a class folder is empty, or a row names an unknown split or label.
    """
    labels = rows.read_labels(options.labels_file) if options.labels_file else None
    with storage.failures_told("read", options.input):
        return _open_input(options, labels)


def _open_input(options: ConvertOptions, labels: tuple[str, ...] | None) -> rows.Source:
    where = options.input.rstrip("/") or "/"
    place = storage.of(where)
    if place.is_folder(where):
        if _is_inside(options.output, where):
            raise UserError("lies in INPUT, whose folders are classes", where=options.output, remedy="choose another")
        source = folders.open_folder(where, labels, options.allowed_prefixes)
        if source.has_splits and options.fractions is not None:
            raise UserError("the folders already say which split is which", where="--split", remedy="leave it out")
        return source
    if place.exists(where):
        return manifests.open_manifest(where, labels, options.allowed_prefixes)
    raise UserError("no such file or folder", where=options.input)


def _is_inside(path: str, folder: str) -> bool:
    if storage.is_remote(path) or storage.is_remote(folder):
        return path.startswith(storage.join(folder, ""))
    return pathlib.Path(folder).resolve() in pathlib.Path(path).resolve().parents
