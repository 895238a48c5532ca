import io

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image, ImageOps

from trainer.config import ExperimentConfig
from trainer.data import decode

SIZE = 16


def encode(image, image_format="PNG", **options):
    file = io.BytesIO()
    image.save(file, image_format, **options)
    return file.getvalue()


def smooth(width, height, mode="RGB", seed=0):
    noise = np.random.default_rng(seed).integers(0, 256, (4, 4, 4), dtype=np.uint8)
    image = Image.fromarray(noise, "RGBA").resize((width, height), Image.Resampling.BICUBIC)
    return image.convert("RGB").convert(mode) if mode in ("RGB", "L", "1", "P", "CMYK") else image.convert(mode)


def on_white(image):
    image = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")


# Traced once for each size and fraction.
traced_evaluation_image = tf.function(decode.evaluation_image)


def evaluation_image(encoded, size=SIZE, crop_fraction=1.0):
    decoded = traced_evaluation_image(tf.constant(encoded), size, crop_fraction)
    assert (decoded.dtype, decoded.shape) == (tf.uint8, (size, size, 3))
    return decoded.numpy().astype(int)


def mean_difference(left, right):
    return np.abs(left.astype(int) - np.asarray(right).astype(int)).mean()


@pytest.mark.parametrize("image_format", ["JPEG", "PNG", "GIF", "BMP", "WEBP"])
@pytest.mark.parametrize("size", [(1, 1), (1, 300), (300, 1), (7, 5), (SIZE, SIZE), (40, 30), (700, 90)])
def test_every_format_and_size_is_taken(image_format, size):
    image = Image.new("RGB", size, (200, 100, 50))
    np.testing.assert_allclose(
        evaluation_image(encode(image, image_format)), np.full((SIZE, SIZE, 3), (200, 100, 50)), atol=3
    )


def test_an_image_of_the_right_size_is_left_as_it_is():
    image = smooth(SIZE, SIZE)
    np.testing.assert_array_equal(evaluation_image(encode(image)), np.asarray(image))


@pytest.mark.parametrize("mode", ["RGB", "L", "1", "P", "RGBA", "LA"])
def test_modes_of_png_look_as_pillow_composites_them(mode):
    image = smooth(SIZE, SIZE, mode)
    assert np.abs(evaluation_image(encode(image)) - np.asarray(on_white(image))).max() <= 1


def test_a_transparent_palette_colour_turns_white():
    image = smooth(SIZE, SIZE, "P")
    encoded = encode(image, transparency=int(np.asarray(image)[0, 0]))
    decoded = evaluation_image(encoded)
    assert decoded[0, 0].tolist() == [255, 255, 255]
    assert np.abs(decoded - np.asarray(on_white(Image.open(io.BytesIO(encoded))))).max() <= 1


def test_sixteen_bits_keep_their_high_byte():
    values = np.arange(SIZE * SIZE, dtype=np.uint16).reshape(SIZE, SIZE) * 255
    decoded = evaluation_image(encode(Image.fromarray(values)))
    np.testing.assert_array_equal(decoded[..., 0], values >> 8)


@pytest.mark.parametrize("mode", ["L", "CMYK"])
def test_modes_of_jpeg_become_rgb(mode):
    image = smooth(64, 64, mode)
    wanted = image.convert("RGB").resize((SIZE, SIZE), Image.Resampling.BOX)
    assert mean_difference(evaluation_image(encode(image, "JPEG", quality=95)), wanted) < 4


@pytest.mark.parametrize("image_format", ["JPEG", "PNG"])
def test_the_central_square_is_cut(image_format):
    """80 % of the short side of 200: the 160x160 square in the middle of 400x200."""
    image = smooth(400, 200)
    wanted = image.crop((120, 20, 280, 180)).resize((64, 64), Image.Resampling.BILINEAR)
    assert mean_difference(evaluation_image(encode(image, image_format), 64, 0.8), wanted) < 3


@pytest.mark.parametrize("image_format", ["JPEG", "PNG"])
@pytest.mark.parametrize("side", [SIZE * 2, SIZE * 5, SIZE * 40])
def test_shrinking_averages_fine_patterns(image_format, side):
    """A one-pixel checkerboard is grey from far away; picking single pixels would leave it black and white."""
    board = np.indices((side, side)).sum(0) % 2 * 255
    decoded = evaluation_image(encode(Image.fromarray(board.astype(np.uint8)).convert("RGB"), image_format, quality=95))
    np.testing.assert_allclose(decoded, 127.5, atol=12)


@pytest.mark.parametrize("size", [(240, 160), (201, 303)])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_photographs_are_turned_upright(orientation, size):
    image = smooth(*size)
    tags = Image.Exif()
    tags[0x0112] = orientation
    encoded = encode(image, "JPEG", quality=95, exif=tags)
    upright = ImageOps.exif_transpose(Image.open(io.BytesIO(encoded)))
    wanted = evaluation_image(encode(upright, "PNG"), 64, 0.9)
    assert mean_difference(evaluation_image(encoded, 64, 0.9), wanted) < 3


@pytest.mark.parametrize(
    "content", [b"", b"not an image", encode(smooth(40, 40), "JPEG")[:300], encode(smooth(40, 40))[:200]]
)
def test_what_is_no_image_is_an_error(content):
    with pytest.raises(tf.errors.InvalidArgumentError):
        evaluation_image(content)


def training_images(encoded, num_images, **settings):
    config = ExperimentConfig().replace(image_size=SIZE, **settings).input
    function = tf.function(lambda seed: decode.training_image(tf.constant(encoded), config, seed))
    return np.stack([function(tf.constant([7, number], tf.int64)).numpy() for number in range(num_images)])


@pytest.mark.parametrize("image_format", ["JPEG", "PNG"])
def test_random_crops_keep_to_area_and_aspect_ratio(image_format):
    """Red grows with x and green with y, so that a crop shows where it was cut."""
    x, y = np.meshgrid(np.arange(240), np.arange(240))
    pixels = np.stack([x, y, np.zeros_like(x)], axis=-1).astype(np.uint8)
    encoded = encode(Image.fromarray(pixels), image_format)
    crops = training_images(encoded, 200, crop_area_min=0.25, crop_aspect_ratio_max=2.0).astype(float)
    # Between the middles of the outermost pixels lie 15 of 16 parts of the crop.
    widths = (crops[:, 8, -1, 0] - crops[:, 8, 0, 0]) * SIZE / (SIZE - 1)
    heights = (crops[:, -1, 8, 1] - crops[:, 0, 8, 1]) * SIZE / (SIZE - 1)
    areas, ratios = widths * heights / 240**2, widths / heights
    assert 0.22 < areas.min() < 0.4
    assert 0.8 < areas.max() < 1.05
    assert 0.45 < ratios.min() < 0.7
    assert 1.4 < ratios.max() < 2.2


@pytest.mark.parametrize("crop", ["random_resized", "pad"])
@pytest.mark.parametrize("size", [(1, 1), (2, 400), (400, 2), (SIZE, SIZE)])
def test_training_takes_every_size(crop, size):
    crops = training_images(encode(Image.new("RGB", size, (200, 100, 50)), "JPEG"), 3, crop=crop, crop_padding=0)
    np.testing.assert_allclose(crops, np.full(crops.shape, (200, 100, 50)), atol=3)


def test_the_pad_crop_shifts_by_up_to_the_padding_and_fills_with_zeros():
    image = np.asarray(smooth(SIZE, SIZE)) // 2 + 100
    padded = np.pad(image, [(2, 2), (2, 2), (0, 0)])
    shifts = {
        (top, left): padded[top : top + SIZE, left : left + SIZE].tobytes() for top in range(5) for left in range(5)
    }
    crops = training_images(encode(Image.fromarray(image)), 300, crop="pad", crop_padding=2, eval_crop_fraction=1.0)
    seen = {crop.tobytes() for crop in crops}
    assert seen == set(shifts.values())


def test_the_center_crop_is_that_of_evaluation():
    encoded = encode(smooth(50, 40), "JPEG")
    crops = training_images(encoded, 1, crop="center", eval_crop_fraction=0.5)
    np.testing.assert_array_equal(crops[0], evaluation_image(encoded, crop_fraction=0.5))


def test_crops_depend_on_the_seed_alone():
    encoded = encode(smooth(64, 64), "JPEG")
    crops = training_images(encoded, 10)
    np.testing.assert_array_equal(crops, training_images(encoded, 10))
    assert len({crop.tobytes() for crop in crops}) == 10
