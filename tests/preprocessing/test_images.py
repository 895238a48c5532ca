import io
import zlib

import numpy as np
import pytest
from PIL import Image

from preprocessing import images
from preprocessing.options import FORMATS, ImageOptions
from preprocessing.quarantine import Reason, RejectedError
from tests.preprocessing import pictures

ALL_FORMATS = ImageOptions(formats=FORMATS)


def convert(data: bytes, options: ImageOptions = ALL_FORMATS) -> images.EncodedImage:
    return images.prepare(data, images.read_header(data, options), options)


@pytest.mark.parametrize("image_format", FORMATS)
def test_magic_bytes_decide(image_format):
    data = pictures.encode(pictures.pixels(size=(32, 32)), image_format)
    assert images.identify(data) == image_format


@pytest.mark.parametrize("image_format", FORMATS)
def test_every_format_becomes_a_jpeg_or_png_that_tensorflow_decodes(image_format):
    import tensorflow as tf

    original = pictures.pixels(size=(64, 32))
    options = {"sizes": [(64, 32)]} if image_format == "ICO" else {}
    encoded = convert(pictures.encode(original, image_format, **options))
    assert encoded.format == ("JPEG" if image_format in ("JPEG", "WEBP", "AVIF") else "PNG")
    assert (encoded.width, encoded.height) == (64, 32)
    decoded = tf.io.decode_image(encoded.data, channels=3, expand_animations=False).numpy()
    assert pictures.mean_difference(Image.fromarray(decoded), original) < 7


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", Reason.EMPTY_FILE),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", Reason.NOT_AN_IMAGE),
        (b"%!PS-Adobe-3.0 EPSF-3.0", Reason.NOT_AN_IMAGE),
        (b"%PDF-1.7", Reason.NOT_AN_IMAGE),
        (b"<html>", Reason.NOT_AN_IMAGE),
        (b"\x00" * 100, Reason.NOT_AN_IMAGE),
        (b"\xff\xd8\xff", Reason.TRUNCATED),
        (b"GIF89a", Reason.DAMAGED),
        (b"BM" + b"\xff" * 60, Reason.DAMAGED),
        (b"RIFF\x10\0\0\0WEBPVP8 ", Reason.DAMAGED),
        (pictures.encode(pictures.pixels(), "TIFF"), Reason.FORMAT_NOT_ENABLED),
    ],
)
def test_what_is_not_an_accepted_image_is_refused(data, reason):
    with pytest.raises(RejectedError) as caught:
        convert(data, ImageOptions())
    assert caught.value.reason == reason


def test_a_large_image_is_refused_before_it_is_decoded():
    rows = zlib.compress(b"\0" * (14_001 * 3), 9)
    header = (14_000).to_bytes(4, "big") * 2 + b"\x08\x02\0\0\0"
    data = b"\x89PNG\r\n\x1a\n" + b"".join(
        len(body).to_bytes(4, "big") + kind + body + zlib.crc32(kind + body).to_bytes(4, "big")
        for kind, body in ((b"IHDR", header), (b"IDAT", rows), (b"IEND", b""))
    )
    with pytest.raises(RejectedError, match="14000x14000") as caught:
        images.read_header(data, ImageOptions())
    assert caught.value.reason == Reason.TOO_MANY_PIXELS


@pytest.mark.parametrize("image_format", ["GIF", "WEBP"])
def test_of_an_animation_the_first_frame_is_taken(image_format):
    frames = [Image.new("RGB", (32, 32), color) for color in ((255, 0, 0), (0, 0, 255))]
    data = pictures.encode(frames[0], image_format, save_all=True, append_images=frames[1:], lossless=True)
    decoded = pictures.decode(convert(data).data)
    assert pictures.mean_difference(decoded, frames[0]) < 4


def test_cmyk_comes_out_in_the_colours_that_tensorflow_sees():
    import tensorflow as tf

    data = pictures.encode(pictures.pixels(size=(64, 64)).convert("CMYK"), "JPEG", quality=95)
    expected = Image.fromarray(tf.io.decode_jpeg(data, channels=3).numpy())
    encoded = convert(data)
    assert encoded.format == "JPEG"
    assert pictures.mean_difference(pictures.decode(encoded.data), expected) < 4


def test_decoding_finds_the_damage_that_the_header_does_not_show():
    data = bytearray(pictures.png())
    start = data.index(b"IDAT")
    length = int.from_bytes(data[start - 4 : start], "big")
    data[start + 4 : start + 4 + length] = b"\0" * length
    data[start + 4 + length : start + 8 + length] = zlib.crc32(data[start : start + 4 + length]).to_bytes(4, "big")
    assert convert(bytes(data), ImageOptions(verify="header")).data == data
    with pytest.raises(RejectedError):
        convert(bytes(data), ImageOptions(verify="decode"))


def test_resizing_encodes_what_is_larger_and_copies_what_is_not():
    options = ImageOptions(resize_short_side=32, quality=80)
    small, large = pictures.jpeg(size=(32, 40)), pictures.jpeg(size=(300, 200))
    assert convert(small, options).data == small
    encoded = convert(large, options)
    assert (encoded.format, encoded.width, encoded.height) == ("JPEG", 48, 32)
    assert pictures.decode(encoded.data).size == (48, 32)


def test_the_estimate_of_stored_bytes_is_the_size_of_a_copy():
    data = pictures.jpeg()
    header = images.read_header(data, ImageOptions())
    assert images.estimate_stored_bytes(len(data), header, ImageOptions()) == len(data)


def test_rotated_pictures_give_the_same_pixels():
    upright = pictures.pixels(size=(64, 48))
    turns = {3: Image.Transpose.ROTATE_180, 6: Image.Transpose.ROTATE_90, 8: Image.Transpose.ROTATE_270}
    for orientation, turn in turns.items():
        exif = Image.Exif()
        exif[0x0112] = orientation
        data = pictures.encode(upright.transpose(turn), "JPEG", quality=95, exif=exif)
        encoded = convert(data)
        assert (encoded.width, encoded.height) == (64, 48)
        assert pictures.mean_difference(pictures.decode(encoded.data), upright) < 3
        assert Image.open(io.BytesIO(encoded.data)).getexif() == {}


def test_every_mode_that_png_stores_is_converted():
    for mode in ("1", "L", "LA", "P", "RGB", "RGBA", "I;16"):
        image = (
            Image.fromarray(np.full((8, 8), 40_000, np.uint16)) if mode == "I;16" else pictures.pixels().convert(mode)
        )
        assert pictures.decode(convert(pictures.encode(image, "PNG")).data).mode in ("L", "RGB")
