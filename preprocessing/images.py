"""From the bytes a user gave us to those that go into a record.

Stored is a JPEG or PNG file, upright, grey or RGB, 8 bits, without metadata.
"""

from typing import NamedTuple

from preprocessing import jpeg_header, pixels, png_header
from preprocessing.image_header import ImageHeader
from preprocessing.options import ImageOptions
from preprocessing.quarantine import Reason, RejectedError

# The first bytes of each format, as (offset, bytes); extensions are not looked at.
_MAGIC: tuple[tuple[str, tuple[tuple[int, bytes], ...]], ...] = (
    ("JPEG", ((0, b"\xff\xd8\xff"),)),
    ("PNG", ((0, b"\x89PNG\r\n\x1a\n"),)),
    ("GIF", ((0, b"GIF8"),)),
    ("WEBP", ((0, b"RIFF"), (8, b"WEBP"))),
    ("BMP", ((0, b"BM"),)),
    ("TIFF", ((0, b"II*\0"),)),
    ("TIFF", ((0, b"MM\0*"),)),
    ("ICO", ((0, b"\0\0\1\0"),)),
    ("AVIF", ((4, b"ftypavi"),)),
)
_LOSSY_FORMATS = ("JPEG", "WEBP", "AVIF")
# Bytes per pixel of a photograph after decoding and encoding again, to size shards before the images are made.
_ENCODED_BYTES_PER_PIXEL = 0.3


class EncodedImage(NamedTuple):
    """An image as it is stored: `data` is a JPEG or PNG file of `width` x `height` pixels."""

    data: bytes
    format: str
    width: int
    height: int


def identify(data: bytes) -> str:
    """Returns the format that the first bytes announce; raises RejectedError when it is none of those we know."""
    for name, parts in _MAGIC:
        if all(data.startswith(magic, offset) for offset, magic in parts):
            return name
    if not data:
        raise RejectedError(Reason.EMPTY_FILE)
    raise RejectedError(Reason.NOT_AN_IMAGE, f"starts with {data[:8]!r}")


def read_header(data: bytes, options: ImageOptions) -> ImageHeader:
    """Returns the header of an image within the limits of `options`, without decoding it; RejectedError otherwise."""
    name = identify(data)
    if name not in options.formats:
        raise RejectedError(Reason.FORMAT_NOT_ENABLED, name)
    if name == "JPEG":
        header = jpeg_header.scan(data)
    elif name == "PNG":
        header = png_header.scan(data)
    else:
        header = pixels.scan_with_pillow(data, name)
    if header.width * header.height > options.max_pixels:
        raise RejectedError(Reason.TOO_MANY_PIXELS, f"{header.width}x{header.height}")
    return header


def prepare(data: bytes, header: ImageHeader, options: ImageOptions) -> EncodedImage:
    """Returns the image as it goes into a record: copied byte for byte when nothing has to change, else encoded anew.

    Raises RejectedError when it is decoded, for one of the two reasons, and cannot be.
    """
    if not must_encode(header, options):
        if options.verify == "decode":
            pixels.decode(header.clean(data), header)
        return copy(data, header)
    image = pixels.resize(
        pixels.decode(header.clean(data), header, options.resize_short_side), options.resize_short_side
    )
    encoded_format = "JPEG" if header.format in _LOSSY_FORMATS else "PNG"
    return EncodedImage(pixels.encode(image, encoded_format, options.quality), encoded_format, *image.size)


def copy(data: bytes, header: ImageHeader) -> EncodedImage:
    """Returns the image as it is, without metadata."""
    return EncodedImage(header.clean(data), header.format, header.width, header.height)


def can_copy(header: ImageHeader, options: ImageOptions) -> bool:
    """Returns whether `prepare` comes to its result without decoding."""
    return options.verify == "header" and not must_encode(header, options)


def must_encode(header: ImageHeader, options: ImageOptions) -> bool:
    """Returns whether the image cannot be copied byte for byte."""
    return header.must_decode or 0 < options.resize_short_side < min(header.width, header.height)


def estimate_stored_bytes(num_bytes: int, header: ImageHeader, options: ImageOptions) -> int:
    """Returns about how many bytes the image will take; depends on the image and the options alone."""
    if not must_encode(header, options):
        return num_bytes
    scale = min(1.0, options.resize_short_side / min(header.width, header.height)) if options.resize_short_side else 1.0
    return round(header.width * header.height * scale * scale * _ENCODED_BYTES_PER_PIXEL)
