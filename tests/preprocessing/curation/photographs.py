"""Real images for the tests of curation, and the facts about them."""

import functools
import hashlib

import numpy as np
from PIL import Image
from sklearn import datasets

from preprocessing import images
from preprocessing.curation import facts
from preprocessing.options import ImageOptions
from preprocessing.rows import Row


@functools.cache
def _photograph(name: str) -> Image.Image:
    return Image.fromarray(datasets.load_sample_image(name))


def china() -> Image.Image:
    """Returns scikit-learn's photograph of a temple, 640x427."""
    return _photograph("china.jpg").copy()


def flower() -> Image.Image:
    """Returns scikit-learn's photograph of a flower before a blurred background, 640x427."""
    return _photograph("flower.jpg").copy()


def digits() -> list[tuple[Image.Image, str]]:
    """Returns scikit-learn's 1,797 handwritten digits, 8x8 and grey, with their labels."""
    bunch = datasets.load_digits()
    return [
        (Image.fromarray(np.rint(values * (255 / 16)).astype(np.uint8)), str(label))
        for values, label in zip(bunch.images, bunch.target, strict=True)
    ]


def inspect(data: bytes, name: str = "photo.jpg", label: str = "a", split: str = "") -> facts.ImageFacts:
    """Returns the facts about a file; `split` is the one that the input asks for."""
    header = images.read_header(data, ImageOptions())
    return facts.inspect_image(data, hashlib.sha256(data).hexdigest(), Row(f"/in/{name}", name, label, split), header)
