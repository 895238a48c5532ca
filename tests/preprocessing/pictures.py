"""Makes image files for the tests: small, real, each different."""

import io
import pathlib

import numpy as np
from PIL import Image


def pixels(seed: int = 0, size: tuple[int, int] = (48, 32), mode: str = "RGB") -> Image.Image:
    """Returns smooth random colours; `size` is (width, height)."""
    random = np.random.default_rng(seed)
    coarse = Image.fromarray(random.integers(0, 256, (4, 6, 3), dtype=np.uint8))
    return coarse.resize(size, Image.Resampling.BICUBIC).convert(mode)


def encode(image: Image.Image, image_format: str, **options) -> bytes:
    """Returns the image as a file of this format."""
    buffer = io.BytesIO()
    image.save(buffer, image_format, **options)
    return buffer.getvalue()


def jpeg(seed: int = 0, size: tuple[int, int] = (48, 32), **options) -> bytes:
    """Returns a JPEG file; another seed gives another picture."""
    return encode(pixels(seed, size), "JPEG", **{"quality": 90, **options})


def png(seed: int = 0, size: tuple[int, int] = (48, 32), mode: str = "RGB", **options) -> bytes:
    """Returns a PNG file; another seed gives another picture."""
    return encode(pixels(seed, size, mode), "PNG", **options)


def decode(data: bytes) -> Image.Image:
    """Returns the loaded image of a file."""
    image = Image.open(io.BytesIO(data))
    image.load()
    return image


def mean_difference(image: Image.Image, other: Image.Image) -> float:
    """Returns the mean absolute difference of two images, in steps of 0..255."""
    assert image.size == other.size
    arrays = [np.asarray(each.convert("RGB"), np.int16) for each in (image, other)]
    return float(np.abs(arrays[0] - arrays[1]).mean())


def write_class_folders(root: pathlib.Path, num_per_class: int, classes=("cat", "dog"), first_seed: int = 0) -> None:
    """Writes JPEGs, no two alike, into one folder per class."""
    seed = first_seed
    for name in classes:
        (root / name).mkdir(parents=True, exist_ok=True)
        for index in range(num_per_class):
            (root / name / f"{index:03d}.jpg").write_bytes(jpeg(seed))
            seed += 1
