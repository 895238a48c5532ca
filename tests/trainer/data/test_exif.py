import io
import struct
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image, ImageOps

from trainer.data import exif

ORIENTATION_TAG = 0x0112
ALL = range(1, 9)


def jpeg(stated=None, *, comment=b"", **options):
    """A JPEG whose EXIF, when `stated` is given, has a few more entries, on both sides of the orientation."""
    file = io.BytesIO()
    tags = Image.Exif()
    if stated is not None:
        tags.update({0x010E: "a description", 0x010F: "a maker", ORIENTATION_TAG: stated, 0x0131: "some software"})
    Image.new("RGB", (20, 10)).save(file, "JPEG", exif=tags, comment=comment, **options)
    return file.getvalue()


def big_endian(stated):
    entry = struct.pack(">HHIHH", ORIENTATION_TAG, 3, 1, stated, 0)
    tiff = b"MM\0*" + struct.pack(">IH", 8, 1) + entry + bytes(4)
    segment = b"Exif\0\0" + tiff
    return b"\xff\xd8\xff\xe1" + struct.pack(">H", len(segment) + 2) + segment + jpeg()[2:]


def read(content):
    return int(exif.orientation(tf.constant(content)))


@pytest.mark.parametrize("stated", ALL)
def test_both_byte_orders_are_read(stated):
    assert read(jpeg(stated)) == stated
    assert Image.open(io.BytesIO(big_endian(stated))).getexif()[ORIENTATION_TAG] == stated
    assert read(big_endian(stated)) == stated


@pytest.mark.parametrize("content", [jpeg(), jpeg(0), jpeg(9), b"", b"Exif\0\0", b"Exif\0\0II*\0\xff\xff\xff\x7f"])
def test_none_and_nonsense_are_upright(content):
    assert read(content) == 1


@pytest.mark.parametrize("num_bytes", range(0, 120, 7))
def test_a_cut_file_is_read_without_an_error(num_bytes):
    assert read(jpeg(6)[:num_bytes]) in (1, 6)


@pytest.mark.parametrize("stated", ALL)
def test_turning_is_what_pillow_does(stated):
    pixels = np.random.default_rng(0).integers(0, 256, (5, 5, 3), dtype=np.uint8)
    image = Image.fromarray(pixels)
    image.getexif()[ORIENTATION_TAG] = stated
    turned = exif.turn_upright(tf.constant(pixels), tf.constant(stated))
    np.testing.assert_array_equal(turned, np.asarray(ImageOps.exif_transpose(image)))


@pytest.mark.slow
def test_turning_prints_nothing():
    program = """
import tensorflow as tf
from trainer.data import exif
turn = tf.function(lambda square, stated: exif.turn_upright(square, stated))
turn(tf.zeros([8, 8, 3], tf.uint8), tf.constant(6))
"""
    finished = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert "oneDNN supports" not in finished.stderr
