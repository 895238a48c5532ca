import numpy as np
import pytest
import tensorflow as tf

from trainer.config import InputConfig
from trainer.errors import UserError
from trainer.export import publish
from trainer.export.publish import ExportCheck, ExportMismatchError
from trainer.export.serving import ExportedClassifier
from trainer.export.trained_classifier import TrainedClassifier


def colour_classifier() -> TrainedClassifier:
    """Knows red, green and blue by the mean of each channel."""
    scale = tf.Variable(8.0, name="scale")

    def predict_fn(images):
        logits = scale * tf.reduce_mean(tf.cast(images, tf.float32) / 255.0, axis=[1, 2])
        probabilities = tf.nn.softmax(logits)
        return {
            "class_index": tf.argmax(logits, -1, output_type=tf.int32),
            "probabilities": probabilities,
            "logits": logits,
        }

    return TrainedClassifier(predict_fn, [scale], ("red", "green", "blue"), InputConfig(image_size=8))


def coloured(*rgb: int) -> bytes:
    return tf.io.encode_png(tf.fill([5, 9, 1], tf.constant(0, tf.uint8)) + tf.constant(rgb, tf.uint8)).numpy()


COLOURS = (coloured(255, 0, 0), coloured(0, 255, 0), coloured(0, 0, 255))


def expected() -> np.ndarray:
    logits = 8.0 * np.eye(3)
    return np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)


def test_a_published_export_answers_with_class_names(tmp_path):
    published = publish.publish(colour_classifier(), str(tmp_path), ExportCheck(COLOURS, expected()), {"made": "here"})
    answers = ExportedClassifier(published.export_dir)(COLOURS)
    assert answers["classes"].tolist() == [b"red", b"green", b"blue"]
    assert published.max_difference < 1e-6
    assert publish.read_labels(published.export_dir) == ("red", "green", "blue")
    assert publish.latest_version(str(tmp_path)) == published.export_dir


def test_an_export_that_answers_otherwise_is_not_published(tmp_path):
    wrong = expected() + np.array([[1e-4, 0, 0]] * 3)
    with pytest.raises(ExportMismatchError, match="differ from the live model's by 1"):
        publish.publish(colour_classifier(), str(tmp_path), ExportCheck(COLOURS, wrong), {})
    assert list(tmp_path.iterdir()) == []


def test_answers_that_are_not_numbers_are_not_published(tmp_path):
    with pytest.raises(ExportMismatchError):
        publish.publish(colour_classifier(), str(tmp_path), ExportCheck(COLOURS, expected() * np.nan), {})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_two_exports_in_one_second_are_two_versions(tmp_path):
    check = ExportCheck(COLOURS, expected())
    dirs = [publish.publish(colour_classifier(), str(tmp_path), check, {}).export_dir for _ in range(2)]
    assert len(set(dirs)) == 2
    assert publish.latest_version(str(tmp_path)) == dirs[1]


def test_a_folder_without_versions_says_what_to_do(tmp_path):
    (tmp_path / "temp-123").mkdir()
    with pytest.raises(UserError, match="no export here; make one"):
        publish.latest_version(str(tmp_path))


def test_a_version_that_is_empty_is_no_export(tmp_path):
    (tmp_path / "1700000000").mkdir()
    with pytest.raises(UserError, match="no export here; make one"):
        publish.latest_version(str(tmp_path))


def test_a_place_that_cannot_be_looked_at_is_named():
    with pytest.raises(UserError, match="s3://bucket/export: cannot be read"):
        publish.latest_version("s3://bucket/export")


def test_a_damaged_export_says_so(tmp_path):
    (tmp_path / "saved_model.pb").write_bytes(b"damaged")
    with pytest.raises(UserError, match=r"cannot be loaded .*; make it anew: tpu-images export"):
        ExportedClassifier(str(tmp_path))


def test_an_export_whose_variables_are_cut_says_so(tmp_path):
    check = ExportCheck(COLOURS, expected())
    export_dir = publish.publish(colour_classifier(), str(tmp_path), check, {}).export_dir
    (variables,) = tmp_path.glob("*/variables/*.data-*")
    variables.write_bytes(variables.read_bytes()[:2])
    with pytest.raises(UserError, match=r"cannot be loaded .*; make it anew: tpu-images export"):
        ExportedClassifier(export_dir)


@pytest.mark.parametrize("content", [b"{", b"\xff", b"1"])
def test_a_damaged_list_of_classes_is_named(tmp_path, content):
    (tmp_path / publish.EXTRA_ASSETS_DIR).mkdir()
    (tmp_path / publish.EXTRA_ASSETS_DIR / publish.LABELS_FILE).write_bytes(content)
    with pytest.raises(UserError, match=r"labels\.json: damaged \(.*\); make one: tpu-images export"):
        publish.read_labels(str(tmp_path))


def test_an_export_needs_a_place(tmp_path):
    (tmp_path / "file").write_text("somebody's")
    with pytest.raises(UserError, match="file: cannot be written"):
        publish.publish(colour_classifier(), str(tmp_path / "file"), ExportCheck(COLOURS, expected()), {})


def test_a_name_that_tensorflow_takes_for_a_pattern_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"export\[1\]: has \[ or .* in its name, which TensorFlow takes for a pattern"):
        publish.publish(colour_classifier(), str(tmp_path / "export[1]"), ExportCheck(COLOURS, expected()), {})
    assert list(tmp_path.iterdir()) == []


def test_a_check_that_fails_does_not_blame_the_place(tmp_path):
    check = ExportCheck((b"not an image", *COLOURS[1:]), expected())
    with pytest.raises(tf.errors.InvalidArgumentError, match="Unknown image file format"):
        publish.publish(colour_classifier(), str(tmp_path), check, {})
    assert list(tmp_path.iterdir()) == []


def test_a_check_without_images_is_none():
    with pytest.raises(ValueError, match="0 images"):
        ExportCheck((), np.zeros((0, 3)))
