"""What tells that two images are the same picture: exactly, or to the eye."""

import functools
import hashlib
from typing import NamedTuple

import numpy as np
from PIL import Image

THUMBNAIL_SIDE = 8
_HASH_SIDE = 8
_DCT_SIDE = 32
# Below this spread (standard deviation, in steps of 0..255) the hash of an image is that of its noise.
_MIN_THUMBNAIL_SPREAD = 3.0


class Fingerprint(NamedTuple):
    """The three fingerprints of one image.

    `pixel_digest` is the same for the same upright pixels in any file; `perceptual_hash` (64 bits) differs in few bits
    for similar pictures; `thumbnail` is uint8 `[8, 8, 3]` as bytes, to tell the similar from the merely alike. A
    picture that is not `is_distinctive` has too little in it to be told from others by its hash.
    """

    pixel_digest: bytes
    perceptual_hash: int
    thumbnail: bytes
    is_distinctive: bool


def take(image: Image.Image, small: Image.Image) -> Fingerprint:
    """Returns the fingerprint of an upright image in mode L or RGB; `small` is the same picture, reduced."""
    side = THUMBNAIL_SIDE
    thumbnail = small.resize((side, side), Image.Resampling.BOX).convert("RGB").tobytes()
    is_distinctive = bool(np.frombuffer(thumbnail, np.uint8).std() >= _MIN_THUMBNAIL_SPREAD)
    return Fingerprint(pixel_digest(image), perceptual_hash(small), thumbnail, is_distinctive)


def pixel_digest(image: Image.Image) -> bytes:
    """Returns 16 bytes that identify the pixels of an image in mode L or RGB, whose shape counts as well.

    A grey image has the same digest in both modes: what is compared is the picture, not how a file stores it.
    """
    if image.mode == "RGB" and _is_grey(image):
        image = image.getchannel(0)
    hashed = hashlib.sha256(f"{image.mode} {image.width}x{image.height}:".encode())
    hashed.update(image.tobytes())
    return hashed.digest()[:16]


def perceptual_hash(image: Image.Image) -> int:
    """Returns 64 bits that say which of the 8x8 lowest frequencies lie above their median.

    Reference: Zauner, "Implementation and Benchmarking of Perceptual Image Hash Functions" (2010), section 3.2.1.
    """
    size = (_DCT_SIDE, _DCT_SIDE)
    grey = image.convert("L").resize(size, Image.Resampling.LANCZOS, reducing_gap=3.0)
    cosines = _low_cosines()
    frequencies = cosines @ np.asarray(grey, np.float32) @ cosines.T
    bits = frequencies > np.median(frequencies)
    return int.from_bytes(np.packbits(bits).tobytes(), "big")


def hamming_distance(hash_a: int, hash_b: int) -> int:
    """Returns in how many bits two hashes differ."""
    return (hash_a ^ hash_b).bit_count()


def thumbnail_correlation(thumbnail_a: bytes, thumbnail_b: bytes) -> float:
    """Returns the correlation (-1..1) of two thumbnails; 0 when one of them is a flat colour."""
    vectors = normalized_thumbnails([thumbnail_a, thumbnail_b])
    return float(vectors[0] @ vectors[1])


def normalized_thumbnails(thumbnails: list[bytes]) -> np.ndarray:
    """Returns float32 `[number, 192]` with mean 0 and length 1: the correlation of two is their dot product."""
    values = np.frombuffer(b"".join(thumbnails), np.uint8).reshape(-1, 3 * THUMBNAIL_SIDE**2).astype(np.float32)
    values -= values.mean(axis=1, keepdims=True)
    lengths = np.linalg.norm(values, axis=1, keepdims=True)
    return np.divide(values, lengths, out=np.zeros_like(values), where=lengths > 0)


def _is_grey(image: Image.Image) -> bool:
    sample = image.resize((16, 16), Image.Resampling.NEAREST)  # tells nearly all coloured images without a full look
    return all(red == green == blue for red, green, blue in (_channels(each) for each in (sample, image)))


def _channels(image: Image.Image) -> tuple[bytes, ...]:
    return tuple(image.getchannel(index).tobytes() for index in range(3))


@functools.cache
def _low_cosines() -> np.ndarray:
    """Returns the first 8 rows of the DCT-II of 32 samples, float32 `[8, 32]`, up to the scale of the first row."""
    frequency, sample = np.arange(_HASH_SIDE)[:, None], np.arange(_DCT_SIDE)[None, :]
    return np.cos(np.pi * frequency * (2 * sample + 1) / (2 * _DCT_SIDE)).astype(np.float32)
