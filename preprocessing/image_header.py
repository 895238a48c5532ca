"""What an image file says about itself before anything is decoded."""

from typing import NamedTuple

from preprocessing.quarantine import Reason, RejectedError

ORIENTATION_TAG = 0x0112
UPRIGHT = 1


class ImageHeader(NamedTuple):
    """The result of scanning a file's header.

    `kept` are the byte ranges that make up the file without its metadata (EXIF, GPS, XMP, comments, thumbnails,
    trailing data); joined, they are a valid file with the same pixels. `must_decode` is true when that file is not one
    that every TensorFlow reader decodes to upright 8-bit grey or RGB pixels, so that it has to be encoded anew.
    """

    format: str
    width: int
    height: int
    kept: tuple[tuple[int, int], ...]
    must_decode: bool
    orientation: int = UPRIGHT

    def clean(self, data: bytes) -> bytes:
        """Returns the file's bytes without metadata: the very same object when there is none."""
        if self.kept == ((0, len(data)),):
            return data
        return b"".join(data[start:end] for start, end in self.kept)


def merge_ranges(ranges: list[tuple[int, int]]) -> tuple[tuple[int, int], ...]:
    """Returns the ranges with adjacent ones joined."""
    merged: list[tuple[int, int]] = []
    for start, end in ranges:
        if merged and merged[-1][1] == start:
            merged[-1] = (merged[-1][0], end)
        else:
            merged.append((start, end))
    return tuple(merged)


def exif_orientation(exif: bytes) -> int:
    """Returns the orientation (1..8) in a block of EXIF, which is a TIFF file; 1 when it has none that makes sense.

    Reads one entry of the first directory and nothing else: the rest of EXIF is hostile input that nobody needs.
    """
    byte_order = {b"II*\0": "little", b"MM\0*": "big"}.get(exif[:4])
    if byte_order is None:
        return UPRIGHT

    def number(start: int, size: int) -> int:
        return int.from_bytes(exif[start : start + size], byte_order)  # type: ignore[arg-type]

    directory = number(4, 4)
    num_entries = min(number(directory, 2), (len(exif) - directory - 2) // 12)
    for entry in range(directory + 2, directory + 2 + 12 * num_entries, 12):
        if number(entry, 2) == ORIENTATION_TAG:
            orientation = number(entry + 8, 2)
            return orientation if 1 <= orientation <= 8 else UPRIGHT
    return UPRIGHT


def require_pixels(width: int, height: int) -> None:
    """Raises RejectedError for an image without pixels."""
    if width < 1 or height < 1:
        raise RejectedError(Reason.DAMAGED, f"the size is {width}x{height}")
