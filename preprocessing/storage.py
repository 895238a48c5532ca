"""Files on a local disk or in Google Cloud Storage, behind one small interface.

A place is a string: a local path, or `gs://bucket/name`. Errors are those of the standard library, whatever the place:
FileNotFoundError, PermissionError, NotAFileError, TooManyBytesError, other OSErrors.
"""

import contextlib
import os
import pathlib
import shutil
import stat
import uuid
from collections.abc import Iterator
from typing import BinaryIO, Protocol, TextIO

from preprocessing.errors import UserError

GS_SCHEME = "gs://"
PARTIAL_MARK = ".partial-"


class NotAFileError(OSError):
    """The place holds a folder, a device or a pipe."""


class TooManyBytesError(OSError):
    """The file is larger than the caller wants to read."""


class Storage(Protocol):
    """What the converter needs of a file system."""

    num_threads: int  # that one worker may usefully have reading at the same time

    def exists(self, path: str) -> bool:
        """Returns whether a file or folder is there."""

    def is_folder(self, path: str) -> bool:
        """Returns whether a folder is there."""

    def is_link(self, path: str) -> bool:
        """Returns whether `path` is a symbolic link."""

    def list_folders(self, folder: str) -> list[str]:
        """Returns the names of the folders directly in `folder`, sorted."""

    def list_own_files(self, folder: str) -> list[str]:
        """Returns the names of the files directly in `folder`, sorted."""

    def list_files(self, folder: str) -> Iterator[str]:
        """Yields the places of the files in `folder` and below it, and of links to folders, which are not followed."""

    def read_bytes(self, path: str, max_bytes: int) -> bytes:
        """Returns the content of a file."""

    def open_text(self, path: str) -> contextlib.AbstractContextManager[TextIO]:
        """Opens a UTF-8 file to read it line by line, line breaks as they are."""

    def open_binary(self, path: str) -> contextlib.AbstractContextManager[BinaryIO]:
        """Opens a file to read it from start to end."""

    def create(self, path: str) -> contextlib.AbstractContextManager[BinaryIO]:
        """Opens a new file that appears, whole, when the block ends without an exception, and else not at all."""

    def num_bytes(self, path: str) -> int:
        """Returns the size of a file."""

    def remove(self, path: str) -> None:
        """Removes a file, or a folder and all in it; does nothing when it is not there."""


def of(path: str) -> Storage:
    """Returns the storage that `path` belongs to."""
    if is_remote(path):
        try:
            from preprocessing import google_storage  # noqa: PLC0415 - takes long to load, and comes with an extra
        except ImportError as error:
            remedy = "pip install 'tpu-images[gcp]'"
            raise UserError("Google's packages are not installed", where=path, remedy=remedy) from error
        return google_storage.GoogleStorage()
    return LocalStorage()


def is_remote(path: str) -> bool:
    """Returns whether the path is one of Google Cloud Storage."""
    return path.startswith(GS_SCHEME)


def join(folder: str, name: str) -> str:
    """Returns the place called `name` in `folder`."""
    return f"{folder.rstrip('/')}/{name}" if is_remote(folder) else os.path.join(folder, name)


def read_text(path: str) -> str:
    """Returns the content of a UTF-8 file."""
    with of(path).open_text(path) as file:
        return file.read()


def read_bytes(path: str) -> bytes:
    """Returns the content of a file."""
    with of(path).open_binary(path) as file:
        return file.read()


def write_text(path: str, text: str) -> None:
    """Writes a UTF-8 file that appears whole or not at all."""
    with of(path).create(path) as file:
        file.write(text.encode())


@contextlib.contextmanager
def failures_told(deed: str, path: str) -> Iterator[None]:
    """Turns an error of the block into one line for the user: what cannot be `deed` (read, written), and why."""
    try:
        yield
    except OSError as error:
        raise UserError(f"cannot be {deed} ({error.strerror or error})", where=path) from error


class LocalStorage:
    """Files on this machine."""

    num_threads = max(2, os.cpu_count() or 1)

    def exists(self, path: str) -> bool:
        """Returns whether a file or folder is there."""
        return os.path.exists(path)

    def is_folder(self, path: str) -> bool:
        """Returns whether a folder is there."""
        return os.path.isdir(path)

    def is_link(self, path: str) -> bool:
        """Returns whether `path` is a symbolic link."""
        return os.path.islink(path)

    def list_folders(self, folder: str) -> list[str]:
        """Returns the names of the folders directly in `folder`, sorted."""
        with os.scandir(folder) as entries:
            return sorted(entry.name for entry in entries if entry.is_dir())

    def list_own_files(self, folder: str) -> list[str]:
        """Returns the names of the files directly in `folder`, sorted."""
        with os.scandir(folder) as entries:
            return sorted(entry.name for entry in entries if entry.is_file())

    def list_files(self, folder: str) -> Iterator[str]:
        """Yields the places of the files in `folder` and below it, and of links to folders, which are not followed."""
        for place, folders, names in os.walk(folder, onerror=_raise):
            folders.sort()
            links = [name for name in folders if os.path.islink(os.path.join(place, name))]
            for name in sorted([*names, *links]):
                yield os.path.join(place, name)

    def read_bytes(self, path: str, max_bytes: int) -> bytes:
        """Returns the content of a file."""
        # Without O_NONBLOCK, opening a named pipe would wait for a writer for ever.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                raise NotAFileError(f"{stat.filemode(status.st_mode)[0]} is not a regular file")
            if status.st_size > max_bytes:
                raise TooManyBytesError(f"{status.st_size} bytes")
            return _read_all(descriptor, status.st_size)
        finally:
            os.close(descriptor)

    def open_text(self, path: str) -> contextlib.AbstractContextManager[TextIO]:
        """Opens a UTF-8 file to read it line by line, line breaks as they are."""
        return open(path, encoding="utf-8-sig", newline="")

    def open_binary(self, path: str) -> contextlib.AbstractContextManager[BinaryIO]:
        """Opens a file to read it from start to end."""
        return open(path, "rb")

    @contextlib.contextmanager
    def create(self, path: str) -> Iterator[BinaryIO]:
        """Opens a new file that appears, whole, when the block ends without an exception, and else not at all."""
        partial = f"{path}{PARTIAL_MARK}{uuid.uuid4().hex}"
        try:
            with open(partial, "xb") as file:
                yield file
            os.replace(partial, path)
        except BaseException:
            pathlib.Path(partial).unlink(missing_ok=True)
            raise

    def num_bytes(self, path: str) -> int:
        """Returns the size of a file."""
        return os.path.getsize(path)

    def remove(self, path: str) -> None:
        """Removes a file, or a folder and all in it; does nothing when it is not there."""
        if os.path.isdir(path) and not os.path.islink(path):
            shutil.rmtree(path)
        else:
            pathlib.Path(path).unlink(missing_ok=True)


def _read_all(descriptor: int, size: int) -> bytes:
    data = os.read(descriptor, size + 1)
    if len(data) >= size:
        return data[:size]
    parts = [data]  # one read returns at most 2 GiB, and less when a signal comes
    while part := os.read(descriptor, size - sum(map(len, parts))):
        parts.append(part)
    return b"".join(parts)


def _raise(error: OSError) -> None:
    raise error
