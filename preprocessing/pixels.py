"""Decoding to upright 8-bit grey or RGB pixels, resizing and encoding, with Pillow."""

import io
import logging
import warnings

import numpy as np
from PIL import Image

from preprocessing.image_header import ORIENTATION_TAG, UPRIGHT, ImageHeader, require_pixels
from preprocessing.quarantine import Reason, RejectedError

# What makes an image with this EXIF orientation upright (EXIF 2.32, table 6).
_TURN_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_GREY_MODES = ("1", "L")
_DEEP_GREY_MODES = ("I;16", "I;16L", "I;16B", "I;16N")
_COLOR_MODES = ("RGB", "RGBX", "P", "CMYK", "YCbCr", "HSV", "LAB")
_GREY_ALPHA_MODES = ("LA", "La")


def set_up_pillow(max_pixels: int) -> None:
    """Gives Pillow the limit that the job has, and silences it: what it warns about is quarantined or harmless."""
    Image.MAX_IMAGE_PIXELS = max_pixels
    warnings.filterwarnings("ignore", module="PIL")
    logging.getLogger("PIL").setLevel(logging.CRITICAL)


def scan_with_pillow(data: bytes, image_format: str) -> ImageHeader:
    """Returns the header of a file in one of the formats that are always encoded anew; raises RejectedError."""
    image = _open(data, image_format)
    require_pixels(*image.size)
    return ImageHeader(image_format, *image.size, ((0, len(data)),), must_decode=True)


def decode(clean: bytes, header: ImageHeader, short_side: int = 0) -> Image.Image:
    """Returns the image upright, in mode L or RGB; of an animation, the first frame; alpha composited on white.

    With a `short_side`, a JPEG may be decoded at a reduced size that is still at least twice as large.
    Raises RejectedError.
    """
    image = _open(clean, header.format)
    orientation = header.orientation
    if header.format not in ("JPEG", "PNG"):
        orientation = _pillow_orientation(image)
    if short_side:
        image.draft(None, (2 * short_side, 2 * short_side))
    _load(image)
    upright = image.transpose(_TURN_UPRIGHT[orientation]) if orientation in _TURN_UPRIGHT else image
    return to_grey_or_rgb(upright)


def to_grey_or_rgb(image: Image.Image) -> Image.Image:
    """Returns the image in mode L when it is grey, else RGB; RejectedError for a mode without defined result."""
    if image.mode in _DEEP_GREY_MODES:
        return _high_byte(image)
    if image.mode in _GREY_ALPHA_MODES or (image.mode in _GREY_MODES and image.has_transparency_data):
        return _on_white(image).convert("L")
    if image.has_transparency_data:
        return _on_white(image)
    if image.mode in _GREY_MODES:
        return image.convert("L")
    if image.mode in _COLOR_MODES:
        return image.convert("RGB")
    raise RejectedError(Reason.UNSUPPORTED_MODE, f"pixels of mode {image.mode}")


def resize(image: Image.Image, short_side: int) -> Image.Image:
    """Returns the image with its shorter side `short_side` pixels long; never enlarges; 0 leaves it alone."""
    if not 0 < short_side < min(image.size):
        return image
    scale = short_side / min(image.size)
    width, height = (max(1, round(side * scale)) for side in image.size)
    # To make smaller, Hamming is as good as bicubic in little more than half the time.
    return image.resize((width, height), Image.Resampling.HAMMING, reducing_gap=2.0)


def encode(image: Image.Image, image_format: str, quality: int) -> bytes:
    """Returns the image as a JPEG (of `quality`) or PNG file that holds nothing but its pixels."""
    image.info.clear()  # Pillow would write comments and profiles of the source from here
    buffer = io.BytesIO()
    if image_format == "JPEG":
        image.save(buffer, "JPEG", quality=quality)
    else:
        image.save(buffer, "PNG")
    return buffer.getvalue()


def _open(data: bytes, image_format: str) -> Image.Image:
    try:
        return Image.open(io.BytesIO(data), formats=[image_format])
    except Image.DecompressionBombError as error:
        raise RejectedError(Reason.TOO_MANY_PIXELS, str(error)) from error
    except Exception as error:
        raise RejectedError(Reason.DAMAGED, _describe(error)) from error


def _load(image: Image.Image) -> None:
    try:
        image.load()
    except (
        Exception
    ) as error:  # on damaged files Pillow's decoders raise nearly anything: its own fuzzers allow eight types
        reason = Reason.TRUNCATED if "truncated" in str(error) else Reason.DAMAGED
        raise RejectedError(reason, _describe(error)) from error


def _describe(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"[:200]


def _pillow_orientation(image: Image.Image) -> int:
    try:
        return image.getexif().get(ORIENTATION_TAG, UPRIGHT)
    except Exception:  # broken EXIF says nothing about the pixels, as with JPEG and PNG
        return UPRIGHT


def _high_byte(image: Image.Image) -> Image.Image:
    """Returns the high byte of 16-bit samples, as for 16-bit RGB; Pillow would clip at 255."""
    samples = np.asarray(image)
    grey = (samples >> 8).astype(np.uint8)
    transparent = image.info.get("transparency")
    if transparent is not None:
        grey[samples == transparent] = 255
    return Image.fromarray(grey)


def _on_white(image: Image.Image) -> Image.Image:
    if image.mode == "La":  # Pillow cannot convert it in one step
        image = image.convert("LA")
    with_alpha = image.convert("RGBA")
    result = Image.new("RGB", image.size, "white")
    result.paste(with_alpha.convert("RGB"), mask=with_alpha.getchannel("A"))
    return result
