"""Google Cloud Storage, with one client for each process and bounded retries.

`STORAGE_EMULATOR_HOST` names a stand-in for the service.
"""

import contextlib
import functools
import os
import tempfile
from collections.abc import Iterator
from typing import BinaryIO, TextIO

import requests.adapters
from google.api_core import exceptions as api_exceptions
from google.auth import credentials as auth_credentials
from google.auth import exceptions as auth_exceptions
from google.cloud import storage as gcs
from google.cloud.storage import retry as gcs_retry

from preprocessing import storage
from preprocessing.errors import UserError

NUM_THREADS = 32
# 1 + 2 + 4 + ... s between the tries, none after this long: a job must end.
_RETRY = gcs_retry.DEFAULT_RETRY.with_timeout(60.0).with_delay(initial=1.0, maximum=16.0, multiplier=2.0)


class GoogleStorage:
    """Objects in buckets; a folder is whatever objects share a prefix that ends with a slash."""

    num_threads = NUM_THREADS

    def exists(self, path: str) -> bool:
        """Returns whether an object or folder is there."""
        with _standard_errors(path):
            return _blob(path).exists(retry=_RETRY) or self.is_folder(path)

    def is_folder(self, path: str) -> bool:
        """Returns whether a folder is there."""
        bucket, prefix = _split(storage.join(path, ""))
        with contextlib.suppress(FileNotFoundError), _standard_errors(path):
            return any(True for _ in _client().list_blobs(bucket, prefix=prefix, max_results=1, retry=_RETRY))
        return False  # not even the bucket

    def is_link(self, path: str) -> bool:
        """Returns False: there are no links."""
        del path
        return False

    def list_folders(self, folder: str) -> list[str]:
        """Returns the names of the folders directly in `folder`, sorted."""
        bucket, prefix = _split(storage.join(folder, ""))
        with _standard_errors(folder):
            pages = _client().list_blobs(bucket, prefix=prefix, delimiter="/", retry=_RETRY)
            for _ in pages:  # the prefixes are complete once the last page was read
                pass
        return sorted(name.removeprefix(prefix).rstrip("/") for name in pages.prefixes)

    def list_own_files(self, folder: str) -> list[str]:
        """Returns the names of the objects directly in `folder`, sorted."""
        bucket, prefix = _split(storage.join(folder, ""))
        with _standard_errors(folder):
            names = [blob.name for blob in _client().list_blobs(bucket, prefix=prefix, delimiter="/", retry=_RETRY)]
        return sorted(name.removeprefix(prefix) for name in names if not name.endswith("/"))

    def list_files(self, folder: str) -> Iterator[str]:
        """Yields the objects in `folder` and below it, without the empty ones that stand for folders."""
        bucket, prefix = _split(storage.join(folder, ""))
        with _standard_errors(folder):
            for blob in _client().list_blobs(bucket, prefix=prefix, retry=_RETRY):
                if not blob.name.endswith("/"):
                    yield f"{storage.GS_SCHEME}{bucket}/{blob.name}"

    def read_bytes(self, path: str, max_bytes: int) -> bytes:
        """Returns the content of an object; asks for one byte more than allowed, to save asking for the size first."""
        with _standard_errors(path):
            data = _blob(path).download_as_bytes(end=max_bytes, retry=_RETRY)
        if len(data) > max_bytes:
            raise storage.TooManyBytesError(f"more than {max_bytes} bytes")
        return data

    @contextlib.contextmanager
    def open_text(self, path: str) -> Iterator[TextIO]:
        """Opens a UTF-8 object to read it line by line, line breaks as they are."""
        with _standard_errors(path), _blob(path).open("rt", encoding="utf-8-sig", newline="", retry=_RETRY) as file:
            yield file

    @contextlib.contextmanager
    def open_binary(self, path: str) -> Iterator[BinaryIO]:
        """Opens an object to read it from start to end."""
        with _standard_errors(path), _blob(path).open("rb", retry=_RETRY) as file:
            yield file

    @contextlib.contextmanager
    def create(self, path: str) -> Iterator[BinaryIO]:
        """Opens a new object that appears, whole, when the block ends without an exception, and else not at all."""
        with tempfile.TemporaryFile() as file:
            yield file
            size = file.tell()
            file.seek(0)
            with _standard_errors(path):
                _blob(path).upload_from_file(file, size=size, checksum="crc32c", retry=_RETRY)

    def num_bytes(self, path: str) -> int:
        """Returns the size of an object."""
        bucket, name = _split(path)
        with _standard_errors(path):
            blob = _client().bucket(bucket).get_blob(name, retry=_RETRY)
        if blob is None:
            raise FileNotFoundError(path)
        return blob.size

    def rename(self, path: str, new_path: str) -> None:
        """Gives an object another name: a copy within the service, then a removal."""
        bucket, name = _split(new_path)
        with _standard_errors(path):
            blob = _blob(path)
            blob.bucket.copy_blob(blob, _client().bucket(bucket), name, retry=_RETRY)
            blob.delete(retry=_RETRY)

    def remove(self, path: str) -> None:
        """Removes an object, and all objects in a folder of that name; does nothing when there are none."""
        for found in [path, *self.list_files(path)]:
            with contextlib.suppress(FileNotFoundError), _standard_errors(found):
                _blob(found).delete(retry=_RETRY)


def _blob(path: str) -> gcs.Blob:
    bucket, name = _split(path)
    return _client().bucket(bucket).blob(name)


def _split(path: str) -> tuple[str, str]:
    bucket, _, name = path.removeprefix(storage.GS_SCHEME).partition("/")
    return bucket, name


@functools.cache
def _client() -> gcs.Client:
    """Returns this process's client, with as many connections as threads: with fewer they would be opened anew."""
    if os.environ.get("STORAGE_EMULATOR_HOST"):
        client = gcs.Client(project="emulated", credentials=auth_credentials.AnonymousCredentials())
    else:
        client = _client_of_user()
    adapter = requests.adapters.HTTPAdapter(pool_connections=NUM_THREADS, pool_maxsize=NUM_THREADS)
    client._http.mount("https://", adapter)
    client._http.mount("http://", adapter)
    return client


def _client_of_user() -> gcs.Client:
    try:
        return gcs.Client()
    except auth_exceptions.DefaultCredentialsError as error:
        remedy = "run: gcloud auth application-default login"
        raise UserError("found no credentials", where="Cloud Storage", remedy=remedy) from error


@contextlib.contextmanager
def _standard_errors(path: str) -> Iterator[None]:
    """Turns the service's errors into those of the standard library."""
    try:
        yield
    except api_exceptions.NotFound as error:
        raise FileNotFoundError(path) from error
    except (api_exceptions.Forbidden, api_exceptions.Unauthorized) as error:
        raise PermissionError(f"{path}: {error.message}") from error
    except (
        api_exceptions.GoogleAPIError,
        auth_exceptions.GoogleAuthError,
        requests.exceptions.RequestException,
    ) as error:
        raise OSError(f"{path}: {error}") from error
