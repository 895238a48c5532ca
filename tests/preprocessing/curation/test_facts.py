import pickle

import numpy as np
import pytest
from PIL import Image

from preprocessing.curation import fingerprints
from preprocessing.quarantine import Reason, RejectedError
from tests.preprocessing import pictures
from tests.preprocessing.curation import photographs


def exif(orientation: int) -> Image.Exif:
    tags = Image.Exif()
    tags[0x0112] = orientation
    return tags


def test_facts_of_a_photograph():
    data = pictures.encode(photographs.china(), "JPEG")
    found = photographs.inspect(data, "x/temple.jpeg", label="temple", split="train")
    assert (found.name, found.path, found.label) == ("x/temple.jpeg", "/in/x/temple.jpeg", "temple")
    assert (found.asked_split, found.split, found.format, found.orientation) == ("train", "", "JPEG", 1)
    assert (found.properties.width, found.properties.height, found.properties.num_bytes) == (640, 427, len(data))


def test_facts_are_small():
    """They travel in place of the image, a million of them through one worker."""
    found = [photographs.inspect(pictures.jpeg(seed), f"class/image_{seed}.jpg") for seed in range(100)]
    assert len(pickle.dumps(found, pickle.HIGHEST_PROTOCOL)) / len(found) < 700


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("image_format", ["JPEG", "PNG", "WEBP"])
def test_size_is_that_of_the_upright_image(orientation, image_format):
    found = photographs.inspect(pictures.encode(pictures.pixels(), image_format, exif=exif(orientation)))
    upright = (48, 32) if orientation < 5 else (32, 48)
    assert (found.properties.width, found.properties.height) == upright


def test_a_large_jpeg_is_decoded_at_a_reduced_size_and_measured_the_same():
    image = photographs.china().resize((4800, 3200))
    large, small = (
        photographs.inspect(pictures.encode(each, "JPEG", quality=95)) for each in (image, image.resize((1200, 800)))
    )
    assert (large.properties.width, large.properties.height) == (4800, 3200)
    assert large.properties.brightness == pytest.approx(small.properties.brightness, abs=0.01)
    hashes = [each.fingerprint.perceptual_hash for each in (large, small)]
    assert fingerprints.hamming_distance(*hashes) <= 2


@pytest.mark.parametrize(
    ("name", "image_format", "is_wrong"),
    [
        ("a.jpg", "JPEG", False),
        ("a.JPEG", "JPEG", False),
        ("a.png", "JPEG", True),
        ("a.jpg", "PNG", True),
        ("a.txt", "PNG", True),
        ("a", "PNG", False),
        ("a.b/c", "PNG", False),
        ("a.dib", "BMP", False),
    ],
)
def test_wrong_extension(name, image_format, is_wrong):
    assert photographs.inspect(pictures.encode(pictures.pixels(), image_format), name).has_wrong_extension is is_wrong


def test_damage_behind_a_sound_header_is_told():
    data = bytearray(pictures.png(size=(200, 200)))
    middle = len(data) // 2
    data[middle : middle + 40] = np.random.default_rng(0).bytes(40)
    with pytest.raises(RejectedError) as caught:
        photographs.inspect(bytes(data))
    assert caught.value.reason in (Reason.DAMAGED, Reason.TRUNCATED)
