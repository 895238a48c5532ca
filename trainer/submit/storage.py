"""Small files in Cloud Storage: our package on its way up, a job's last words on their way down.

`STORAGE_EMULATOR_HOST` sends everything to an emulator, without credentials (google-cloud-storage's own variable).
"""

import pathlib
import posixpath

from google.api_core import exceptions as api_errors
from google.cloud import storage  # type: ignore[attr-defined]

from trainer.errors import UserError
from trainer.submit.calls import CALL_TIMEOUT_SECS, call


def connect(project: str) -> storage.Client:
    """Returns a client with the user's own credentials (ADC)."""
    return call("Cloud Storage", lambda: storage.Client(project=project))


def upload(client: storage.Client, path: pathlib.Path, uri: str) -> None:
    """Copies a local file to `uri`; UserError when the bucket does not exist or may not be written."""
    blob = _blob(client, uri)
    # Our own tries in place of the library's: its own are bounded by time, and would multiply with ours.
    call(f"upload to {uri}", lambda: blob.upload_from_filename(str(path), timeout=CALL_TIMEOUT_SECS, retry=None))


def read_bytes(client: storage.Client, uri: str) -> bytes | None:
    """Returns the content of an object, or None when there is no such object."""

    def download() -> bytes | None:
        try:
            return _blob(client, uri).download_as_bytes(timeout=CALL_TIMEOUT_SECS, retry=None)
        except api_errors.NotFound:
            return None

    return call(f"read {uri}", download)


def delete(client: storage.Client, uri: str) -> None:
    """Deletes an object; it is no error when there is none."""

    def remove() -> None:
        try:
            _blob(client, uri).delete(timeout=CALL_TIMEOUT_SECS, retry=None)
        except api_errors.NotFound:
            return

    call(f"delete {uri}", remove)


def join(directory: str, *names: str) -> str:
    """Returns the address of something in a gs:// directory."""
    return posixpath.join(directory, *names)


def _blob(client: storage.Client, uri: str) -> storage.Blob:
    bucket, _, name = uri.removeprefix("gs://").partition("/")
    if not bucket or not name:
        raise UserError("is no object in Cloud Storage", where=uri, remedy="write gs://BUCKET/NAME")
    return client.bucket(bucket).blob(name)
