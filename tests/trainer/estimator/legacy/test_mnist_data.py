"""The digits of the tutorials, from files."""

import numpy as np
import pytest
import tensorflow as tf

from tests.trainer.estimator.legacy.test_programs import write_digits
from trainer.errors import UserError
from trainer.estimator.legacy import mnist_data


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    path = tmp_path_factory.mktemp("digits") / "data"
    write_digits(path)
    return path


def test_images_and_labels_have_the_form_that_is_asked_for(directory):
    plain = mnist_data.read_data_sets(str(directory), validation_size=8)
    assert [part.num_examples for part in plain] == [24, 8, 16]
    assert (plain.train.images.shape, plain.train.images.dtype) == ((24, 784), np.float32)
    assert plain.train.images.min() >= 0
    assert 0.9 < plain.train.images.max() <= 1
    assert plain.train.labels.tolist()[:3] == [8, 9, 0]  # the first ones are for validation
    raw = mnist_data.read_data_sets(str(directory), one_hot=True, dtype=tf.uint8, reshape=False, validation_size=0)
    assert (raw.test.images.shape, raw.test.images.dtype) == ((16, 28, 28, 1), np.uint8)
    np.testing.assert_array_equal(raw.test.labels.argmax(1), np.arange(16) % 10)
    np.testing.assert_allclose(raw.test.images.reshape(16, 784) / 255.0, plain.test.images, rtol=1e-6)


def test_batches_go_through_all_examples_and_on(directory):
    digits = mnist_data.read_data_sets(str(directory), validation_size=8, seed=1).train
    batches = [digits.next_batch(10) for _ in range(5)]
    assert digits.epochs_completed == 2
    drawn = np.concatenate([labels for _, labels in batches])
    assert sorted(drawn[:24]) == sorted(digits.labels)
    in_order = mnist_data.read_data_sets(str(directory), validation_size=8).train.next_batch(5, shuffle=False)
    np.testing.assert_array_equal(in_order[0], digits.images[:5])


def test_no_examples_make_no_batch(directory):
    nothing = mnist_data.read_data_sets(str(directory), validation_size=0).validation
    with pytest.raises(ValueError, match="there are no examples"):
        nothing.next_batch(1)


@pytest.mark.parametrize("damage", [lambda content: b"<html>", lambda content: content[:-20], lambda content: b""])
def test_a_damaged_file_is_told_in_a_line(tmp_path, directory, damage):
    for file in directory.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    labels = tmp_path / "train-labels-idx1-ubyte.gz"
    labels.write_bytes(damage(labels.read_bytes()))
    with pytest.raises(UserError, match=r"not a file of digits: .*fetch it anew") as raised:
        mnist_data.read_data_sets(str(tmp_path))
    assert raised.value.where == str(labels)


def test_what_is_not_there_is_not_downloaded(tmp_path, directory):
    with pytest.raises(UserError, match="there is no such file") as raised:
        mnist_data.read_data_sets(str(tmp_path))
    assert raised.value.where == str(tmp_path / "train-images-idx3-ubyte.gz")
    for file in directory.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    labels = tmp_path / "t10k-labels-idx1-ubyte.gz"
    labels.write_bytes((directory / "t10k-images-idx3-ubyte.gz").read_bytes())
    with pytest.raises(UserError, match="not a file of digits: it starts with 2051, not 2049"):
        mnist_data.read_data_sets(str(tmp_path))
