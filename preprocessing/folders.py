"""A folder with one folder per class in it, or one folder per split with one per class in each."""

import dataclasses
from collections.abc import Iterator, Sequence

from preprocessing import paths, split, storage
from preprocessing.errors import UserError
from preprocessing.quarantine import QuarantinedRow, Reason, RejectedError, Stage, quarantined
from preprocessing.rows import Row, require_distinct, require_known_label

# Left behind by file managers; nobody means them as images.
_IGNORED_FILES = ("Thumbs.db", "desktop.ini")
# Not what the machine knows of types: where it knows none of WebP, such images would go unseen.
_IMAGE_SUFFIXES = (
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".gif", ".bmp", ".webp"),
    *(".tif", ".tiff", ".ico", ".avif", ".heic", ".heif"),
)


@dataclasses.dataclass(frozen=True)
class FolderSource:
    """One folder per class, or one per split with one per class in it.

    `units` are `(folder, label, split)`; without a label, `folder` is one that holds class folders.
    """

    rules: paths.PathRules
    units: tuple[tuple[str, str, str], ...]
    class_names: tuple[str, ...]
    has_splits: bool

    def read(self, unit: tuple[str, str, str]) -> Iterator[Row | QuarantinedRow]:
        """Yields a row for every file in a class folder and below it, hidden ones excepted; beside them, for images."""
        folder, label, split_name = unit
        if not label:
            yield from self._without_class(folder)
            return
        place = storage.of(folder)
        for path in visible_files(folder):
            try:
                paths.require_visible(path)
                resolved = self.rules.resolve(path) if place.is_link(path) else path
            except RejectedError as rejected:
                yield quarantined(self.rules.name(path), Stage.PATH, rejected)
            else:
                yield Row(resolved, self.rules.name(path), label, split_name)

    def _without_class(self, folder: str) -> Iterator[QuarantinedRow]:
        for path in _loose_images(folder):
            yield quarantined(self.rules.name(path), Stage.SOURCE, RejectedError(Reason.NO_LABEL, "in no class folder"))


def _loose_images(folder: str) -> list[str]:
    """Returns the files directly in `folder` whose names are those of images; a README may lie there."""
    names = storage.of(folder).list_own_files(folder)
    visible = [name for name in names if name.lower().endswith(_IMAGE_SUFFIXES) and not name.startswith(".")]
    return [storage.join(folder, name) for name in visible]


def visible_files(folder: str) -> Iterator[str]:
    """Yields the files in `folder` and below it that somebody may mean as images: no hidden ones.

    Raises:
      UserError: when a folder cannot be listed.
    """
    prefix = storage.join(folder, "")
    try:
        for path in storage.of(folder).list_files(folder):
            parts = path.removeprefix(prefix).split("/")
            if not any(part.startswith(".") for part in parts) and parts[-1] not in _IGNORED_FILES:
                yield path
    except OSError as error:
        raise UserError(f"cannot be listed ({error.strerror or error})", where=error.filename or folder) from error


def open_folder(root: str, labels: tuple[str, ...] | None, allowed_prefixes: tuple[str, ...]) -> FolderSource:
    """Looks at a folder and returns its source; UserError when a class is empty, unknown or leads elsewhere."""
    rules = paths.PathRules.of(root, allowed_prefixes)
    names = _visible_folders(rules.root)
    if not names:
        raise UserError("holds no folders", where=root, remedy="put the images of each class into a folder of its own")
    splits = {name: split.SPLIT_WORDS.get(name.lower()) for name in names}
    has_splits = all(splits.values())
    parents = {rules.root: ""}
    if has_splits:
        parents = {storage.join(rules.root, folder): split_name or "" for folder, split_name in splits.items()}
    units = [
        (storage.join(parent, name), name, split_name)
        for parent, split_name in parents.items()
        for name in _visible_folders(parent)
    ]
    class_names = _class_names(root, units, labels)
    units += [(folder, "", "") for folder in dict.fromkeys([rules.root, *parents]) if _loose_images(folder)]
    return FolderSource(rules, tuple(_require_allowed(rules, unit) for unit in units), class_names, has_splits)


def _class_names(root: str, units: Sequence[tuple[str, str, str]], labels: tuple[str, ...] | None) -> tuple[str, ...]:
    found = sorted({label for _, label, _ in units})
    if not found:
        raise UserError("the split folders hold no class folders", where=root)
    require_distinct(found, where=root)
    filled = {label for folder, label, _ in units if next(visible_files(folder), None) is not None}
    for folder, label, _ in units:
        if labels is not None:
            require_known_label(label, labels, where=root)
        if label not in filled:
            raise UserError("the class folder is empty", where=folder, remedy="add images or remove the folder")
    return labels or tuple(found)


def _require_allowed(rules: paths.PathRules, unit: tuple[str, str, str]) -> tuple[str, str, str]:
    try:
        return (rules.resolve(unit[0]), *unit[1:])
    except RejectedError as rejected:
        is_elsewhere = rejected.reason == Reason.PATH_NOT_ALLOWED
        remedy = "allow it with --allow_prefix=FOLDER" if is_elsewhere else "rename it"
        raise UserError(rejected.detail, where=unit[0], remedy=remedy) from rejected


def _visible_folders(folder: str) -> list[str]:
    return [name for name in storage.of(folder).list_folders(folder) if not name.startswith((".", "__MACOSX"))]
