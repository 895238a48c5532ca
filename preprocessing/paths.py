"""Where an image may lie: in the input's own folder or bucket, or under a prefix that the user allowed."""

import dataclasses
import os
import re
import unicodedata
from collections.abc import Iterable

from preprocessing import storage
from preprocessing.quarantine import Reason, RejectedError

_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:")
_MAX_PATH_CHARACTERS = 4096
# Control characters, halves of surrogate pairs (bytes that are not UTF-8), line and paragraph separators.
_HIDDEN_CATEGORIES = ("Cc", "Cs", "Zl", "Zp")
# They make "gpj.exe" read as "exe.jpg".
_TEXT_DIRECTION_CONTROLS = frozenset("\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


@dataclasses.dataclass(frozen=True)
class PathRules:
    """Judges paths that come from a manifest or through a link; they are hostile input.

    `root` is the folder that relative paths start from. Allowed are places in it (for `gs://`, anywhere in its bucket)
    and under `allowed_prefixes`. All local places are free of links.
    """

    root: str
    allowed_prefixes: tuple[str, ...] = ()

    @classmethod
    def of(cls, root: str, allowed_prefixes: Iterable[str] = ()) -> "PathRules":
        """Returns the rules for a root and prefixes as the user spelt them."""
        return cls(_without_links(root), tuple(map(_without_links, allowed_prefixes)))

    def resolve(self, path: str) -> str:
        """Returns the place that `path` means, with links followed; raises RejectedError when it must not be read."""
        require_visible(path)
        if storage.is_remote(path):
            return self._require_allowed_object(path)
        if _SCHEME.match(path):
            raise RejectedError(Reason.PATH_NOT_ALLOWED, "only local paths and gs:// are read")
        if storage.is_remote(self.root):
            return self._require_allowed_object(storage.join(self.root, path))
        resolved = os.path.realpath(os.path.join(self.root, path))
        if any(_is_under(resolved, place) for place in (self.root, *self.allowed_prefixes)):
            return resolved
        raise RejectedError(Reason.PATH_NOT_ALLOWED, "leads out of the input's folder")

    def name(self, path: str) -> str:
        """Returns the path relative to the root where it lies in it: the name that is kept in the record."""
        return path.removeprefix(storage.join(self.root, ""))

    def _require_allowed_object(self, path: str) -> str:
        bucket, _, name = path.removeprefix(storage.GS_SCHEME).partition("/")
        if not bucket or not name or ".." in name.split("/"):
            raise RejectedError(Reason.PATH_NOT_ALLOWED, "names no object")
        own_bucket = storage.join(storage.GS_SCHEME + self.root.removeprefix(storage.GS_SCHEME).partition("/")[0], "")
        is_own = storage.is_remote(self.root) and path.startswith(own_bucket)
        if is_own or any(_is_under(path, prefix) for prefix in self.allowed_prefixes):
            return path
        raise RejectedError(Reason.PATH_NOT_ALLOWED, f"gs://{bucket} is not the input's bucket")


def require_visible(path: str) -> None:
    """Raises RejectedError for a path that is empty, endless, or made to look like another."""
    if not path or len(path) > _MAX_PATH_CHARACTERS:
        raise RejectedError(Reason.PATH_MALFORMED, f"{len(path)} characters long")
    if not path.isascii() or not path.isprintable():
        for character in path:
            if unicodedata.category(character) in _HIDDEN_CATEGORIES or character in _TEXT_DIRECTION_CONTROLS:
                raise RejectedError(Reason.PATH_MALFORMED, f"holds the character {character!a}")


def _without_links(place: str) -> str:
    return place if storage.is_remote(place) else os.path.realpath(place)


def _is_under(path: str, folder: str) -> bool:
    return path == folder or path.startswith(storage.join(folder, ""))
