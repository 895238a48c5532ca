import numpy as np
import pytest
import tensorflow as tf
from PIL import Image, ImageEnhance, ImageOps

from trainer.data import randaugment

SIGNS = (-1.0, 1.0)
WITHOUT_STRENGTH = (randaugment.equalize, randaugment.autocontrast)


@pytest.fixture
def image():
    noise = np.random.default_rng(3).integers(20, 200, (8, 8, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(noise).resize((40, 32), Image.Resampling.BICUBIC))


def apply(operation, image, strength=0.5, sign=1.0):
    return operation(tf.constant(image), strength, tf.constant(sign)).numpy()


def difference(left, right):
    return np.abs(left.astype(int) - right.astype(int)).max()


@pytest.mark.parametrize("operation", randaugment.OPERATIONS)
@pytest.mark.parametrize("strength", [0.0, 1.0, 3.0])
def test_every_operation_keeps_type_and_shape(operation, image, strength):
    changed = apply(operation, image, strength)
    assert (changed.dtype, changed.shape) == (np.uint8, image.shape)


@pytest.mark.parametrize(("ours", "pillow"), [("equalize", ImageOps.equalize), ("autocontrast", ImageOps.autocontrast)])
def test_histogram_operations_are_those_of_pillow(image, ours, pillow):
    wanted = np.asarray(pillow(Image.fromarray(image)))
    assert difference(apply(getattr(randaugment, ours), image), wanted) <= 1
    assert difference(wanted, image) > 10


@pytest.mark.parametrize("operation", WITHOUT_STRENGTH)
def test_a_flat_image_has_no_histogram_to_stretch(operation):
    flat = np.full((8, 8, 3), 77, np.uint8)
    np.testing.assert_array_equal(apply(operation, flat), flat)


@pytest.mark.parametrize(
    ("ours", "pillow"),
    [
        ("color", ImageEnhance.Color),
        ("contrast", ImageEnhance.Contrast),
        ("brightness", ImageEnhance.Brightness),
        ("sharpness", ImageEnhance.Sharpness),
    ],
)
@pytest.mark.parametrize("sign", SIGNS)
def test_blends_are_those_of_pillow(image, ours, pillow, sign):
    wanted = np.asarray(pillow(Image.fromarray(image)).enhance(1 + sign * 0.9 * 0.5))
    assert difference(apply(getattr(randaugment, ours), image, 0.5, sign), wanted) <= 1


def test_solarize_inverts_what_is_brighter_than_the_threshold(image):
    wanted = np.asarray(ImageOps.solarize(Image.fromarray(image), 128))
    np.testing.assert_array_equal(apply(randaugment.solarize, image, 0.5), wanted)
    np.testing.assert_array_equal(apply(randaugment.solarize, image, 1.0), 255 - image)


@pytest.mark.parametrize(("strength", "num_bits"), [(0.5, 6), (1.0, 4), (3.0, 1)])
def test_posterize_keeps_high_bits(image, strength, num_bits):
    wanted = np.asarray(ImageOps.posterize(Image.fromarray(image), num_bits))
    np.testing.assert_array_equal(apply(randaugment.posterize, image, strength), wanted)


def test_a_quarter_turn_is_exact():
    square = np.arange(7 * 7 * 3, dtype=np.uint8).reshape(7, 7, 3)
    np.testing.assert_array_equal(apply(randaugment.rotate, square, 3.0), np.rot90(square))
    np.testing.assert_array_equal(apply(randaugment.rotate, square, 3.0, -1.0), np.rot90(square, -1))


def test_translations_move_and_fill_with_grey(image):
    height, width = image.shape[:2]
    right = apply(randaugment.translate_x, image, 10 / width / 0.45, -1.0)
    np.testing.assert_array_equal(right[:, 10:], image[:, :-10])
    assert (right[:, :10] == 128).all()
    up = apply(randaugment.translate_y, image, 10 / height / 0.45, 1.0)
    np.testing.assert_array_equal(up[:-10], image[10:])


@pytest.mark.parametrize("operation", [randaugment.shear_x, randaugment.shear_y])
def test_shears_leave_the_middle_alone(operation):
    square = np.random.default_rng(0).integers(0, 256, (9, 9, 3), dtype=np.uint8)
    sheared = apply(operation, square, 1.0)
    np.testing.assert_array_equal(sheared[4, 4], square[4, 4])
    assert difference(sheared, square) > 0


@pytest.mark.parametrize("operation", [item for item in randaugment.OPERATIONS if item not in WITHOUT_STRENGTH])
@pytest.mark.parametrize("sign", SIGNS)
def test_magnitude_zero_changes_nothing_that_has_a_strength(operation, image, sign):
    np.testing.assert_array_equal(apply(operation, image, 0.0, sign), image)


@pytest.mark.slow
def test_draws_depend_on_the_seed_alone(image):
    augment = tf.function(lambda seed: randaugment.randaugment(tf.constant(image), 2, 10.0, seed))
    results = [augment(tf.constant([1, position], tf.int64)).numpy() for position in range(30)]
    again = [augment(tf.constant([1, position], tf.int64)).numpy() for position in range(30)]
    np.testing.assert_array_equal(results, again)
    assert len({result.tobytes() for result in results}) > 20
