import numpy as np
import pytest
from PIL import Image

from preprocessing import pixels
from preprocessing.image_header import ImageHeader
from preprocessing.quarantine import Reason, RejectedError
from tests.preprocessing import pictures

# Every mode of Pillow: the colour or grey that comes of a fully opaque pixel of this value.
COLORS = {
    "1": (255, 255),
    "L": (90, 90),
    "P": (17, (17, 34, 51)),
    "RGB": ((10, 20, 30), (10, 20, 30)),
    "RGBX": ((10, 20, 30, 0), (10, 20, 30)),
    "RGBA": ((10, 20, 30, 255), (10, 20, 30)),
    "RGBa": ((10, 20, 30, 255), (10, 20, 30)),
    "LA": ((90, 255), 90),
    "La": ((90, 255), 90),
    "PA": ((17, 255), (17, 34, 51)),
    "CMYK": ((255, 0, 0, 0), (0, 255, 255)),
    "YCbCr": ((128, 128, 128), (128, 128, 128)),
    "LAB": ((0, 128, 128), (0, 0, 0)),
    "HSV": ((0, 255, 255), (255, 0, 0)),
    "I;16": (0xA1B2, 0xA1),
    "I;16L": (0xA1B2, 0xA1),
    "I;16B": (0xA1B2, 0xA1),
    "I;16N": (0xA1B2, 0xA1),
}
WITHOUT_DEFINED_RESULT = ["I", "F"]


def flat(mode: str, value) -> Image.Image:
    image = Image.new(mode, (4, 2), value)
    if mode in ("P", "PA"):
        image.putpalette(b"".join(bytes((i, i * 2 % 256, i * 3 % 256)) for i in range(256)))
    return image


@pytest.mark.parametrize("mode", COLORS)
def test_every_mode_has_one_result(mode):
    value, expected = COLORS[mode]
    result = pixels.to_grey_or_rgb(flat(mode, value))
    assert result.mode == ("RGB" if isinstance(expected, tuple) else "L")
    assert result.getpixel((0, 0)) == pytest.approx(expected, abs=1)  # colour management rounds


@pytest.mark.parametrize("mode", WITHOUT_DEFINED_RESULT)
def test_modes_without_a_defined_result_are_refused(mode):
    with pytest.raises(RejectedError) as caught:
        pixels.to_grey_or_rgb(Image.new(mode, (4, 2)))
    assert caught.value.reason == Reason.UNSUPPORTED_MODE


@pytest.mark.parametrize(
    ("mode", "value", "expected"),
    [
        ("RGBA", (0, 0, 255, 0), (255, 255, 255)),
        ("RGBA", (0, 0, 0, 51), (204, 204, 204)),
        ("LA", (0, 0), 255),
        ("LA", (0, 51), 204),
    ],
)
def test_alpha_is_composited_on_white(mode, value, expected):
    assert pixels.to_grey_or_rgb(Image.new(mode, (1, 1), value)).getpixel((0, 0)) == expected


@pytest.mark.parametrize(
    ("mode", "value", "transparency", "expected"),
    [("L", 7, 7, 255), ("RGB", (1, 2, 3), (1, 2, 3), (255, 255, 255)), ("I;16", 0x0102, 0x0102, 255), ("1", 0, 0, 255)],
)
def test_the_transparent_colour_becomes_white(mode, value, transparency, expected):
    data = pictures.encode(Image.new(mode, (2, 2), value), "PNG", transparency=transparency)
    assert pixels.to_grey_or_rgb(pictures.decode(data)).getpixel((0, 0)) == expected


ALL_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}


@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_orientation_comes_out_upright(orientation):
    upright = pictures.pixels(size=(48, 32))
    stored = upright.transpose(ALL_TURNS[orientation]) if orientation != 1 else upright
    data = pictures.encode(stored, "PNG")
    header = ImageHeader("PNG", *stored.size, ((0, len(data)),), must_decode=True, orientation=orientation)
    assert np.array_equal(np.asarray(pixels.decode(data, header)), np.asarray(upright))


def test_orientation_of_formats_that_pillow_scans():
    block = Image.Exif()
    block[0x0112] = 6
    upright = pictures.pixels(size=(48, 32))
    stored = upright.transpose(Image.Transpose.ROTATE_90)
    data = pictures.encode(stored, "WEBP", lossless=True, exif=block)
    decoded = pixels.decode(data, pixels.scan_with_pillow(data, "WEBP"))
    assert np.array_equal(np.asarray(decoded), np.asarray(upright))


@pytest.mark.parametrize(
    ("size", "short_side", "expected"),
    [
        ((400, 200), 100, (200, 100)),
        ((200, 401), 100, (100, 200)),
        ((50, 80), 100, (50, 80)),
        ((30, 3000), 10, (10, 1000)),
    ],
)
def test_resize_by_the_short_side_never_enlarges(size, short_side, expected):
    assert pixels.resize(Image.new("RGB", size), short_side).size == expected


def test_a_reduced_jpeg_decode_gives_nearly_the_same_picture():
    data = pictures.jpeg(size=(1600, 1200))
    header = ImageHeader("JPEG", 1600, 1200, ((0, len(data)),), must_decode=False)
    exact = pixels.resize(pixels.decode(data, header), 64)
    quick = pixels.resize(pixels.decode(data, header, 64), 64)
    assert pictures.mean_difference(exact, quick) < 1


def test_encoding_keeps_nothing_but_pixels():
    image = pictures.pixels()
    image.info.update(comment=b"Secret", icc_profile=b"Secret", exif=b"Exif\0\0Secret", xmp=b"Secret", dpi=(7, 7))
    for image_format in ("JPEG", "PNG"):
        assert b"Secret" not in pixels.encode(image.copy(), image_format, 90)
