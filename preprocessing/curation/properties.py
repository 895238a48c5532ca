"""Measured values of one image: brightness, contrast, information, blur, colour, size."""

from typing import NamedTuple

import numpy as np
from PIL import Image, ImageFilter

# Blur is measured on a reduced image whose shorter side has 192 to 383 pixels: the number of pixels must not matter.
_WORKING_SHORT_SIDE = 192
_BLUR_RADIUS = 5
_TILES_PER_SIDE = 4
_MIN_BLUR_SIDE = 16  # a smaller image has nothing to tell sharp from blurry


class ImageProperties(NamedTuple):
    """What was measured; `width` and `height` are those of the upright image, in pixels.

    Brightness is luma (ITU-R 601) in 0..1: its mean and percentiles. `contrast` is the standard deviation of luma,
    `entropy_bits` that of its 256-bin histogram. `saturation` is the mean distance of the strongest from the weakest
    channel, 0..1. `blur` lies between 0 (sharp) and 1.
    """

    width: int
    height: int
    num_bytes: int
    brightness: float
    dark_percentile: float  # 5 % of the pixels are darker
    bright_percentile: float  # 99 % of the pixels are darker
    contrast: float
    entropy_bits: float
    saturation: float
    blur: float

    @property
    def aspect_ratio(self) -> float:
        """Width by height."""
        return self.width / self.height

    @property
    def bytes_per_pixel(self) -> float:
        """Size of the file by number of pixels."""
        return self.num_bytes / (self.width * self.height)

    @property
    def side_pixels(self) -> float:
        """Side of the square of the same area."""
        return (self.width * self.height) ** 0.5


def reduce_for_measuring(image: Image.Image) -> Image.Image:
    """Returns the image with its shorter side reduced by a whole number to at least 192 pixels."""
    factor = min(image.size) // _WORKING_SHORT_SIDE
    return image.reduce(factor) if factor > 1 else image


def measure(image: Image.Image, small: Image.Image, num_bytes: int) -> ImageProperties:
    """Returns the properties of an upright image in mode L or RGB; `small` is `reduce_for_measuring` of it."""
    grey = small.convert("L")
    shares = np.asarray(grey.histogram(), np.float64) / (grey.width * grey.height)
    levels = np.arange(256) / 255
    brightness = float(shares @ levels)
    return ImageProperties(
        width=image.width,
        height=image.height,
        num_bytes=num_bytes,
        brightness=brightness,
        dark_percentile=_percentile(shares, 0.05),
        bright_percentile=_percentile(shares, 0.99),
        contrast=float(np.sqrt(shares @ (levels - brightness) ** 2)),
        entropy_bits=_entropy_bits(shares),
        saturation=_saturation(small),
        blur=blur(grey),
    )


def blur(grey: Image.Image) -> float:
    """Returns how blurry the sharpest busy part of a grey image is: 0 (sharp) to 1.

    Blurring a sharp picture takes away much of the differences between neighbouring pixels; blurring a blurry one
    changes little. Reference: Crete et al., "The blur effect: perception and estimation with a new no-reference
    perceptual blur metric" (2007). Judged by tiles: a sharp subject before a soft background is no blurry photograph.
    """
    if min(grey.size) < _MIN_BLUR_SIDE:
        return 0.0
    return max(_blur_along(grey, axis) for axis in (0, 1))


def _blur_along(grey: Image.Image, axis: int) -> float:
    radius = (0, _BLUR_RADIUS) if axis == 0 else (_BLUR_RADIUS, 0)
    before = _differences(grey, axis)
    after = _differences(grey.filter(ImageFilter.BoxBlur(radius)), axis)
    lost = _tile_sums(np.maximum(before - after, 0))
    total = _tile_sums(before)
    is_busy = (total >= total.mean()) & (total > 0)
    return float(1 - (lost[is_busy] / total[is_busy]).max()) if is_busy.any() else 0.0


def _differences(grey: Image.Image, axis: int) -> np.ndarray:
    return np.abs(np.diff(np.asarray(grey, np.int16), axis=axis))


def _tile_sums(values: np.ndarray) -> np.ndarray:
    """Returns the sums, int64 `[4, 4]`, over equal tiles of an int16 `[height, width]`, but for rests at the edges."""
    height, width = (side // _TILES_PER_SIDE for side in values.shape)
    tiled = values[: height * _TILES_PER_SIDE, : width * _TILES_PER_SIDE]
    return tiled.reshape(_TILES_PER_SIDE, height, _TILES_PER_SIDE, width).sum(axis=(1, 3), dtype=np.int64)


def _percentile(shares: np.ndarray, fraction: float) -> float:
    return float(np.searchsorted(np.cumsum(shares), fraction - 1e-12)) / 255


def _entropy_bits(shares: np.ndarray) -> float:
    present = shares[shares > 0]
    return float(-(present @ np.log2(present))) + 0.0  # + 0.0 turns -0.0, of a flat image, into 0.0


def _saturation(small: Image.Image) -> float:
    if small.mode == "L":
        return 0.0
    channels = np.asarray(small.resize((32, 32), Image.Resampling.BOX), np.int16)
    return float((channels.max(axis=2) - channels.min(axis=2)).mean()) / 255
