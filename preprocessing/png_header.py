"""Scans a PNG file chunk by chunk without inflating it. Reference: https://www.w3.org/TR/png-3/#5DataRep."""

import zlib
from collections.abc import Iterator

from preprocessing.image_header import UPRIGHT, ImageHeader, exif_orientation, merge_ranges, require_pixels
from preprocessing.quarantine import Reason, RejectedError

_GREY, _RGB, _PALETTE, _GREY_ALPHA, _RGB_ALPHA = 0, 2, 3, 4, 6
_BIT_DEPTHS = {
    _GREY: (1, 2, 4, 8, 16),
    _RGB: (8, 16),
    _PALETTE: (1, 2, 4, 8),
    _GREY_ALPHA: (8, 16),
    _RGB_ALPHA: (8, 16),
}
# All that decides about pixels. tRNS is ancillary by its name, but it is transparency.
_KEPT = (b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND")


def scan(data: bytes) -> ImageHeader:
    """Returns the header of a PNG file; raises RejectedError when a chunk that matters is damaged or missing."""
    kept = [(0, 8)]
    seen: set[bytes] = set()
    header = b""
    orientation = UPRIGHT
    for kind, start, end in _chunks(data):
        if not seen and kind != b"IHDR":
            raise RejectedError(Reason.DAMAGED, f"the first chunk is {kind!r}")
        if kind == b"IHDR" and not header:
            header = data[start + 8 : end - 4]
        elif kind == b"eXIf":
            orientation = exif_orientation(data[start + 8 : end - 4])
        if kind in _KEPT:
            _verify_checksum(data, start, end)
            kept.append((start, end))
        elif not kind[0] & 0x20:
            raise RejectedError(Reason.DAMAGED, f"unknown critical chunk {kind!r}")
        seen.add(kind)
    if b"IDAT" not in seen:
        raise RejectedError(Reason.DAMAGED, "no image data")
    width, height, is_plain = _read_header(header)
    must_decode = not (is_plain and b"tRNS" not in seen and orientation == UPRIGHT)
    return ImageHeader("PNG", width, height, merge_ranges(kept), must_decode, orientation)


def _read_header(header: bytes) -> tuple[int, int, bool]:
    """Returns width, height, and whether the pixels are 8-bit grey or RGB, not interlaced."""
    if len(header) != 13:
        raise RejectedError(Reason.DAMAGED, f"the header has {len(header)} bytes")
    width = int.from_bytes(header[0:4], "big")
    height = int.from_bytes(header[4:8], "big")
    bit_depth, color_type, _, _, interlacing = header[8:13]
    require_pixels(width, height)
    if bit_depth not in _BIT_DEPTHS.get(color_type, ()):
        raise RejectedError(Reason.DAMAGED, f"colour type {color_type} with bit depth {bit_depth}")
    return width, height, bit_depth == 8 and color_type in (_GREY, _RGB) and interlacing == 0


def _chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Yields `(type, start, end)` of each chunk, up to and including IEND."""
    position = 8
    kind = b""
    while kind != b"IEND":
        start = position
        position += 12 + int.from_bytes(data[start : start + 4], "big")
        kind = data[start + 4 : start + 8]
        if position > len(data):
            raise RejectedError(Reason.TRUNCATED, "the file ends before the image does")
        yield kind, start, position


def _verify_checksum(data: bytes, start: int, end: int) -> None:
    if zlib.crc32(memoryview(data)[start + 4 : end - 4]) != int.from_bytes(data[end - 4 : end], "big"):
        raise RejectedError(Reason.DAMAGED, f"chunk {data[start + 4 : start + 8]!r} has a wrong checksum")
