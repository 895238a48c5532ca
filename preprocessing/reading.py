"""Reads image files and finds out about each what the later steps need to know, without decoding it."""

import hashlib
from collections.abc import Sequence
from typing import NamedTuple

import google_crc32c

from preprocessing import images, storage
from preprocessing.image_header import ImageHeader
from preprocessing.options import ImageOptions
from preprocessing.quarantine import QuarantinedRow, Reason, RejectedError, Stage, quarantined
from preprocessing.rows import Row
from preprocessing.worker import Worker


class ScannedImage(NamedTuple):
    """All that travels between workers about an image: never its bytes.

    `digest` is the SHA-256 of the file as hex digits; `crc32c` tells cheaply whether the file is still the same.
    """

    row: Row
    digest: str
    crc32c: int
    header: ImageHeader
    stored_bytes: int  # about how many bytes it will take in its shard


def read_image(path: str, max_bytes: int) -> bytes:
    """Returns the content of an image file; RejectedError when it cannot be read or exceeds `max_bytes`."""
    try:
        return storage.of(path).read_bytes(path, max_bytes)
    except FileNotFoundError as error:
        raise RejectedError(Reason.NOT_FOUND) from error
    except storage.TooManyBytesError as error:
        raise RejectedError(Reason.TOO_MANY_BYTES, str(error)) from error
    except (storage.NotAFileError, IsADirectoryError, NotADirectoryError) as error:
        raise RejectedError(Reason.NOT_A_FILE, error.strerror or str(error)) from error
    except OSError as error:
        raise RejectedError(Reason.NOT_READABLE, error.strerror or str(error)) from error


def scan_image(row: Row, options: ImageOptions) -> ScannedImage | QuarantinedRow:
    """Returns what is known about a row's image without decoding it, or why the row cannot be used."""
    result = read_and_scan(row, options)
    return result if isinstance(result, QuarantinedRow) else result[1]


def scan_images(rows: Sequence[Row], options: ImageOptions, worker: Worker) -> list[ScannedImage | QuarantinedRow]:
    """Returns the result of `scan_image` for each row."""
    results = worker.map_each(lambda row: scan_image(row, options), rows)
    worker.progress.add(scanned=len(results))
    return results


def read_and_scan(row: Row, options: ImageOptions) -> tuple[bytes, ScannedImage] | QuarantinedRow:
    """Returns the bytes of a row's image and what is known about it, or why the row cannot be used."""
    stage = Stage.READ
    try:
        data = read_image(row.path, options.max_bytes)
        stage = Stage.HEADER
        header = images.read_header(data, options)
    except RejectedError as rejected:
        return quarantined(row.name, stage, rejected)
    digest = hashlib.sha256(data).hexdigest()
    stored_bytes = images.estimate_stored_bytes(len(data), header, options)
    return data, ScannedImage(row, digest, google_crc32c.value(data), header, stored_bytes)
