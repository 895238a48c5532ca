"""Scans a JPEG file segment by segment without decoding it.

Finds size, orientation and the true end of the image, and tells metadata from image. Reference: ITU-T T.81, annex B.
"""

from collections.abc import Iterator, Sequence

import numpy as np

from preprocessing.image_header import UPRIGHT, ImageHeader, exif_orientation, merge_ranges, require_pixels
from preprocessing.quarantine import Reason, RejectedError

_START_OF_IMAGE, _END_OF_IMAGE, _START_OF_SCAN = 0xD8, 0xD9, 0xDA
_HUFFMAN_TABLES, _QUANTIZATION_TABLES = 0xC4, 0xDB
_JFIF, _EXIF, _ADOBE = 0xE0, 0xE1, 0xEE
_FRAMES = frozenset(range(0xC0, 0xD0)) - {_HUFFMAN_TABLES, 0xC8, 0xCC}
# Arithmetic conditioning, number of lines, restart interval, and all of the above: on any other, decoders give up.
_KNOWN = (
    _FRAMES
    | frozenset(range(0xE0, 0xF0))
    | {_HUFFMAN_TABLES, 0xCC, _START_OF_SCAN, _QUANTIZATION_TABLES, 0xDC, 0xDD, 0xFE}
)
_TENSORFLOW_FRAMES = frozenset((0xC0, 0xC1, 0xC2))  # baseline, extended, progressive: all Huffman-coded
_METADATA = frozenset(range(0xE0, 0xF0)) | {0xFE}  # APPn and comments
# The two kinds of metadata that say how pixels are decoded, by their first bytes.
_SIGNATURES = {_JFIF: b"JFIF\0", _ADOBE: b"Adobe"}
_PLAIN_JFIF_BYTES = 18  # a longer one holds a thumbnail

_RESTART_MARKERS = range(0xD0, 0xD8)
# What may follow 0xFF within entropy-coded data: 0 (stuffing), a restart marker, another 0xFF. All else ends it.
_GOES_ON = np.isin(np.arange(256), (0, *_RESTART_MARKERS, 0xFF))
_SEARCHED_AT_ONCE = 1 << 18  # bytes; by numpy, as it is faster than a regular expression and lets other threads run
# libjpeg spends a pass over the whole image on every scan of a progressive file: thousands of them take minutes.
_MAX_SCANS = 100


Segment = tuple[int, int, int]  # marker, start and end


def scan(data: bytes) -> ImageHeader:
    """Returns the header of a JPEG file; raises RejectedError when it is damaged or ends too early."""
    segments = list(_segments(data))
    markers = [marker for marker, _, _ in segments]
    frames = [segment for segment in segments if segment[0] in _FRAMES]
    num_scans = markers.count(_START_OF_SCAN)
    if len(frames) != 1 or not 1 <= num_scans <= _MAX_SCANS:
        raise RejectedError(Reason.DAMAGED, f"{len(frames)} frame headers, {num_scans} scans")
    for segment in segments:
        _require_whole_tables(data, *segment)
    width, height, is_plain = _read_frame(data, *frames[0])
    has_tables = _HUFFMAN_TABLES in markers and _QUANTIZATION_TABLES in markers
    orientation = _orientation(data, segments)
    has_thumbnail = any(marker == _JFIF and end - start > _PLAIN_JFIF_BYTES for marker, start, end in segments)
    must_decode = has_thumbnail or not (is_plain and has_tables and orientation == UPRIGHT)
    kept = [(0, 2), *((start, end) for marker, start, end in segments if _is_kept(data, marker, start))]
    return ImageHeader("JPEG", width, height, merge_ranges(kept), must_decode, orientation)


def _is_kept(data: bytes, marker: int, start: int) -> bool:
    """Returns whether a segment is part of the image: all but metadata are."""
    if marker in _SIGNATURES:
        return data.startswith(_SIGNATURES[marker], start + 4)
    return marker not in _METADATA


def _orientation(data: bytes, segments: Sequence[Segment]) -> int:
    for marker, start, end in segments:
        if marker == _EXIF and data.startswith(b"Exif\0\0", start + 4):
            return exif_orientation(data[start + 10 : end])
    return UPRIGHT


def _read_frame(data: bytes, marker: int, start: int, end: int) -> tuple[int, int, bool]:
    """Returns width, height, and whether TensorFlow decodes such a frame to 8-bit grey or RGB."""
    if end - start < 10 or end - start != 10 + 3 * data[start + 9]:
        raise RejectedError(Reason.DAMAGED, f"a frame header of {end - start} bytes")
    bits = data[start + 4]
    height = int.from_bytes(data[start + 5 : start + 7], "big")
    width = int.from_bytes(data[start + 7 : start + 9], "big")
    num_components = data[start + 9]
    require_pixels(width, height)
    if bits != 8:
        raise RejectedError(Reason.UNSUPPORTED_MODE, f"JPEG with {bits} bits per sample")
    return width, height, marker in _TENSORFLOW_FRAMES and num_components in (1, 3)


def _require_whole_tables(data: bytes, marker: int, start: int, end: int) -> None:
    """Raises RejectedError when the segment is one of tables, and not filled by whole ones."""
    if marker not in (_HUFFMAN_TABLES, _QUANTIZATION_TABLES):
        return
    position = start + 4
    while position < end:
        if marker == _QUANTIZATION_TABLES:
            position += 1 + 64 * (1 + (data[position] >> 4))
        else:
            position += 17 + sum(data[position + 1 : position + 17])
    if position != end:
        raise RejectedError(Reason.DAMAGED, f"tables end at byte {position}, their segment at {end}")


def _segments(data: bytes) -> Iterator[Segment]:
    """Yields the segments up to and including the end of the image; a scan includes its coded data."""
    position = 2
    while True:
        if data[position : position + 1] != b"\xff":
            raise _broken_off(data, position)
        while data[position : position + 1] == b"\xff":  # any number of fill bytes may precede a marker
            position += 1
        if position >= len(data):
            raise _broken_off(data, position)
        marker = data[position]
        if marker == _END_OF_IMAGE:
            yield marker, position - 1, position + 1
            return
        if marker in (0x01, _START_OF_IMAGE, *_RESTART_MARKERS):  # these stand alone, without a length
            position += 1
            continue
        if marker not in _KNOWN:
            raise RejectedError(Reason.DAMAGED, f"unknown marker {marker:#x}")
        length = int.from_bytes(data[position + 1 : position + 3], "big")
        end = position + 1 + length
        if length < 2 or end > len(data):
            raise _broken_off(data, end)
        if marker == _START_OF_SCAN:
            end = _end_of_scan(data, end)
        yield marker, position - 1, end
        position = end


def _end_of_scan(data: bytes, start: int) -> int:
    """Returns where coded data that begins at `start` ends."""
    for block_start in range(start, len(data) - 1, _SEARCHED_AT_ONCE):
        block = np.frombuffer(data, np.uint8, min(_SEARCHED_AT_ONCE + 1, len(data) - block_start), block_start)
        places = np.flatnonzero(block[:-1] == 0xFF)
        ends = places[~_GOES_ON[block[places + 1]]]
        if len(ends):
            return block_start + int(ends[0])
    raise RejectedError(Reason.TRUNCATED, "the file ends before the image does")


def _broken_off(data: bytes, position: int) -> RejectedError:
    if position >= len(data):
        return RejectedError(Reason.TRUNCATED, "the file ends before the image does")
    return RejectedError(Reason.DAMAGED, f"no JPEG segment at byte {position}")
