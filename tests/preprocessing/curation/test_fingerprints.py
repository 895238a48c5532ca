import numpy as np
import pytest
from PIL import Image

from preprocessing.curation import fingerprints
from tests.preprocessing import pictures
from tests.preprocessing.curation import photographs


def test_pixel_digest_counts_the_shape():
    """Files of the same bytes of pixels in other shapes or colours are no copies."""
    flat = [
        Image.new("RGB", (10, 40)),
        Image.new("RGB", (40, 10)),
        Image.new("RGB", (20, 20)),
        Image.new("RGB", (10, 40), "red"),
        Image.new("RGB", (10, 40), "blue"),
    ]
    assert len(set(map(fingerprints.pixel_digest, flat))) == len(flat)


def test_pixel_digest_is_of_the_picture_not_of_its_storage():
    grey = pictures.pixels(mode="L")
    assert fingerprints.pixel_digest(grey) == fingerprints.pixel_digest(grey.convert("RGB"))
    almost_grey = grey.convert("RGB")
    almost_grey.putpixel((3, 5), (1, 2, 3))
    assert fingerprints.pixel_digest(almost_grey) != fingerprints.pixel_digest(grey)


def test_perceptual_hash_is_that_of_the_definition():
    """The DCT-II by its definition, on the same 32x32 pixels."""
    image = photographs.china()
    grey = np.asarray(image.convert("L").resize((32, 32), Image.Resampling.LANCZOS, reducing_gap=3.0), float)
    steps = np.pi * (2 * np.arange(32) + 1) / 64
    frequencies = np.array(
        [[(grey * np.outer(np.cos(u * steps), np.cos(v * steps))).sum() for v in range(8)] for u in range(8)]
    )
    bits = (frequencies > np.median(frequencies)).ravel()
    assert fingerprints.perceptual_hash(image) == sum(1 << (63 - index) for index in np.flatnonzero(bits).tolist())


@pytest.mark.parametrize(
    ("change", "most"),
    [
        (lambda image: image.resize((320, 213)), 2),
        (lambda image: image.convert("L"), 0),
        (lambda image: pictures.decode(pictures.encode(image, "JPEG", quality=20)), 2),
        (lambda image: image.crop((8, 6, 632, 421)), 10),
    ],
)
def test_perceptual_hash_of_copies_is_near(change, most):
    image = photographs.china()
    hashes = [fingerprints.perceptual_hash(each) for each in (image, change(image))]
    assert fingerprints.hamming_distance(*hashes) <= most


def test_perceptual_hash_of_others_is_far():
    hashes = [fingerprints.perceptual_hash(each) for each in (photographs.china(), photographs.flower())]
    assert fingerprints.hamming_distance(*hashes) > 20


def test_correlation_agrees_with_numpy():
    random = np.random.default_rng(0)
    first, second = (random.integers(0, 256, 192, dtype=np.uint8) for _ in range(2))
    expected = np.corrcoef(first, second)[0, 1]
    assert fingerprints.thumbnail_correlation(first.tobytes(), second.tobytes()) == pytest.approx(expected, abs=1e-6)


def test_a_flat_thumbnail_correlates_with_nothing():
    assert fingerprints.thumbnail_correlation(bytes(192), bytes(range(192))) == 0


@pytest.mark.parametrize(
    ("image", "is_distinctive"),
    [
        (photographs.china(), True),
        (Image.new("RGB", (50, 50), "white"), False),
        (Image.effect_noise((300, 300), 20), False),
    ],
)
def test_only_some_pictures_are_distinctive(image, is_distinctive):
    assert fingerprints.take(image, image).is_distinctive is is_distinctive
