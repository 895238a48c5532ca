import numpy as np
import pytest
from PIL import Image, ImageFilter

from preprocessing.curation import properties
from tests.preprocessing.curation import photographs


def measure(image: Image.Image) -> properties.ImageProperties:
    return properties.measure(image, properties.reduce_for_measuring(image), num_bytes=1000)


def half_black_half_white() -> Image.Image:
    image = Image.new("L", (64, 64), 0)
    image.paste(255, (32, 0, 64, 64))
    return image


def test_flat_grey():
    measured = measure(Image.new("RGB", (40, 10), (51, 51, 51)))
    assert measured.brightness == pytest.approx(0.2)
    assert measured.dark_percentile == measured.bright_percentile == pytest.approx(0.2)
    assert (measured.contrast, measured.entropy_bits, measured.saturation, measured.blur) == (0, 0, 0, 0)
    assert measured.aspect_ratio == 4
    assert measured.side_pixels == 20
    assert measured.bytes_per_pixel == 2.5


def test_two_levels_are_one_bit():
    measured = measure(half_black_half_white())
    assert measured.entropy_bits == pytest.approx(1)
    assert measured.contrast == pytest.approx(0.5)
    assert (measured.dark_percentile, measured.bright_percentile) == (0, 1)


def test_percentiles_leave_out_a_few_pixels():
    levels = np.full((100, 100), 100, np.uint8)
    levels.flat[:90] = 255  # 0.9 % of the pixels
    assert measure(Image.fromarray(levels)).bright_percentile == pytest.approx(100 / 255)
    levels.flat[:110] = 255
    assert measure(Image.fromarray(levels)).bright_percentile == 1


@pytest.mark.parametrize(("color", "saturation"), [("red", 1), ("white", 0), ((255, 128, 128), 127 / 255)])
def test_saturation(color, saturation):
    assert measure(Image.new("RGB", (20, 20), color)).saturation == pytest.approx(saturation)


@pytest.mark.parametrize("photograph", [photographs.china, photographs.flower])
def test_blur_grows_with_the_radius(photograph):
    blurs = [measure(photograph().filter(ImageFilter.GaussianBlur(radius))).blur for radius in (0, 2, 4, 8)]
    assert blurs == sorted(blurs)
    assert blurs[0] < 0.3
    assert blurs[-1] > 0.7


@pytest.mark.parametrize("side", [40, 120, 300])
def test_blur_hardly_depends_on_the_number_of_pixels(side):
    assert measure(photographs.china().resize((side, side))).blur < 0.3


def test_the_working_image_keeps_a_short_side():
    assert min(properties.reduce_for_measuring(Image.new("L", (4000, 1000))).size) == 200
    assert properties.reduce_for_measuring(Image.new("L", (300, 200))).size == (300, 200)


@pytest.mark.parametrize("size", [(1, 1), (1, 300), (300, 1), (17, 16)])
def test_tiny_and_thin_images(size):
    measured = measure(Image.new("RGB", size, "red"))
    assert (measured.width, measured.height) == size
    assert np.isfinite(measured).all()
