"""Writes one shard from the list of its images: reads each, brings it into shape, frames it, names the file last.

One call makes one whole file, so that no image travels between workers and a retried call replaces its own result.
"""

import functools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

import google_crc32c

from preprocessing import example_proto, images, reading, schema, storage, tfrecord
from preprocessing.dataset_info import ShardInfo
from preprocessing.image_header import ImageHeader
from preprocessing.options import ImageOptions
from preprocessing.quarantine import QuarantinedRow, Reason, RejectedError, Stage, quarantined
from preprocessing.reading import ScannedImage
from preprocessing.worker import Worker

_IMAGES_PER_TASK = 16
_BYTES_PER_TASK = 4_000_000


class ShardRules(NamedTuple):
    """All that a shard's content depends on beside its images; `class_indices` start at 0."""

    class_indices: Mapping[str, int]
    label_offset: int
    images: ImageOptions


class WrittenShard(NamedTuple):
    """A finished shard; `class_counts` has one entry per class name."""

    split: str
    info: ShardInfo
    class_counts: tuple[int, ...]


class _Part(NamedTuple):
    """What one task made of a few images."""

    pieces: list[bytes]  # to be written one after the other
    class_indices: list[int]
    quarantined: list[QuarantinedRow]


def write_shard(
    path: str, split: str, scanned: Iterable[ScannedImage], rules: ShardRules, worker: Worker
) -> tuple[WrittenShard, list[QuarantinedRow]]:
    """Writes the shard file at `path` and returns what is in it, and the rows that could not be written.

    Images stand in the order of their digests: the same whatever order they came in, and shuffled for the trainer.
    """
    ordered = sorted(scanned, key=lambda image: (image.digest, image.row.name, image.row.label))
    class_counts = [0] * len(rules.class_indices)
    not_written: list[QuarantinedRow] = []
    checksum = num_bytes = 0
    with storage.of(path).create(path) as file:
        for part in worker.map(lambda chunk: _make_part(chunk, rules, worker), _chunks(ordered)):
            file.writelines(part.pieces)
            checksum = functools.reduce(google_crc32c.extend, part.pieces, checksum)
            num_bytes += sum(map(len, part.pieces))
            not_written += part.quarantined
            for class_index in part.class_indices:
                class_counts[class_index] += 1
            worker.progress.add(written=len(part.class_indices))
    info = ShardInfo(path.rpartition("/")[2], sum(class_counts), num_bytes, f"{checksum:08x}")
    return WrittenShard(split, info, tuple(class_counts)), not_written


def _make_part(chunk: Sequence[ScannedImage], rules: ShardRules, worker: Worker) -> _Part:
    pieces: list[bytes] = []
    class_indices: list[int] = []
    not_written: list[QuarantinedRow] = []
    for scanned in chunk:
        class_index = rules.class_indices[scanned.row.label]
        stage = Stage.READ
        try:
            data = reading.read_image(scanned.row.path, rules.images.max_bytes)
            stage = Stage.WRITE
            _require_unchanged(data, scanned)
            stage = Stage.DECODE
            encoded = _prepare(data, scanned.header, rules.images, worker)
        except RejectedError as rejected:
            not_written.append(quarantined(scanned.row.name, stage, rejected))
        else:
            pieces += tfrecord.frame(_example(scanned, encoded, class_index + rules.label_offset))
            class_indices.append(class_index)
    return _Part(pieces, class_indices, not_written)


def _prepare(data: bytes, header: ImageHeader, options: ImageOptions, worker: Worker) -> images.EncodedImage:
    if images.can_copy(header, options):
        return images.copy(data, header)
    with worker.decoding(header.width * header.height):
        return images.prepare(data, header, options)


def _example(scanned: ScannedImage, encoded: images.EncodedImage, label: int) -> list[bytes]:
    return example_proto.encode(
        {
            schema.CLASS_LABEL: label,
            schema.CLASS_TEXT: scanned.row.label.encode(),
            schema.IMAGE_DIGEST: scanned.digest.encode(),
            schema.IMAGE_ENCODED: encoded.data,
            schema.IMAGE_FILENAME: scanned.row.name.encode(),
            schema.IMAGE_FORMAT: encoded.format.encode(),
            schema.IMAGE_HEIGHT: encoded.height,
            schema.IMAGE_WIDTH: encoded.width,
        }
    )


def _require_unchanged(data: bytes, scanned: ScannedImage) -> None:
    """Raises RejectedError when the file is not the one that was scanned: its split and checks would be another's."""
    if google_crc32c.value(data) != scanned.crc32c:
        raise RejectedError(Reason.CHANGED_WHILE_CONVERTING)


def _chunks(scanned: Sequence[ScannedImage]) -> Iterator[list[ScannedImage]]:
    """Yields a few images at a time: many small ones, so that threads are worth it, or few large ones."""
    chunk: list[ScannedImage] = []
    for image in scanned:
        chunk.append(image)
        if len(chunk) == _IMAGES_PER_TASK or sum(each.stored_bytes for each in chunk) > _BYTES_PER_TASK:
            yield chunk
            chunk = []
    if chunk:
        yield chunk
