"""`tensorflow.examples.tutorials.mnist.input_data`: the handwritten digits, from files that are there."""

import collections
import gzip
import os
import zlib

import numpy as np
import tensorflow as tf

from trainer.errors import UserError

Datasets = collections.namedtuple("Datasets", ["train", "validation", "test"])

_FILES = {
    "train": ("train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz"),
    "test": ("t10k-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte.gz"),
}
_NUM_CLASSES = 10
_IMAGES_MAGIC, _LABELS_MAGIC = 2051, 2049


class DataSet:
    """Images and labels, in batches without end.

    Fields:
      images: float32 `[examples, 784]` from 0 to 1, or uint8; `[examples, 28, 28, 1]` if not reshaped.
      labels: uint8 `[examples]`, or float64 `[examples, 10]` if one-hot.
      num_examples: how many there are.
    """

    def __init__(self, images: np.ndarray, labels: np.ndarray, seed: int | None = None):
        self.images, self.labels = images, labels
        self.num_examples = len(images)
        self._num_drawn = 0
        self._random = np.random.RandomState(seed)
        self._order = np.arange(0)

    @property
    def epochs_completed(self) -> int:
        """How many epochs have been left behind by a batch that reaches into the next one."""
        return max(self._num_drawn - 1, 0) // self.num_examples

    def next_batch(self, batch_size: int, fake_data: bool = False, shuffle: bool = True) -> tuple[np.ndarray, ...]:
        """Returns the next images and labels; a batch may reach into the next epoch."""
        if fake_data:
            raise ValueError("next_batch: fake_data is not supported; leave it out")
        if not self.num_examples:
            raise ValueError("next_batch: there are no examples; see validation_size of read_data_sets")
        while len(self._order) < batch_size:
            epoch = self._random.permutation(self.num_examples) if shuffle else np.arange(self.num_examples)
            self._order = np.concatenate([self._order, epoch])
        chosen, self._order = self._order[:batch_size], self._order[batch_size:]
        self._num_drawn += batch_size
        return self.images[chosen], self.labels[chosen]


def read_data_sets(  # noqa: PLR0913, PLR0917 - the signature that programs rely on
    train_dir: str,
    fake_data: bool = False,
    one_hot: bool = False,
    dtype: tf.DType = tf.float32,
    reshape: bool = True,
    validation_size: int = 5000,
    seed: int | None = None,
    source_url: str = "",
) -> Datasets:
    """Reads the four files of the digits.

    Args:
      train_dir: where they lie; nothing is downloaded.
      fake_data: not supported.
      one_hot: whether labels are vectors.
      dtype: of the images: float32 from 0 to 1, or uint8.
      reshape: whether an image is one row of pixels.
      validation_size: how many of the training examples, from the first on, are for validation.
      seed: of the order of batches.
      source_url: where they were downloaded from.

    Raises:
      UserError: one of the files is not there, or is none of digits.
    """
    del source_url
    if fake_data:
        raise ValueError("read_data_sets: fake_data is not supported; leave it out")
    images, labels = {}, {}
    for name, (images_file, labels_file) in _FILES.items():
        images[name] = _scaled(_read(train_dir, images_file, _IMAGES_MAGIC)[..., np.newaxis], dtype, reshape)
        numbers = _read(train_dir, labels_file, _LABELS_MAGIC)
        labels[name] = np.eye(_NUM_CLASSES)[numbers] if one_hot else numbers
    parts = [
        (images["train"][validation_size:], labels["train"][validation_size:]),
        (images["train"][:validation_size], labels["train"][:validation_size]),
        (images["test"], labels["test"]),
    ]
    return Datasets(*(DataSet(*part, seed=seed) for part in parts))


def _scaled(images: np.ndarray, dtype: tf.DType, reshape: bool) -> np.ndarray:
    images = images.reshape(len(images), -1) if reshape else images
    return images if tf.as_dtype(dtype) == tf.uint8 else images.astype(np.float32) / 255.0


def _read(directory: str, name: str, magic: int) -> np.ndarray:
    path = os.path.join(directory, name)
    if not tf.io.gfile.exists(path):
        raise UserError("there is no such file", where=path, remedy="put it there; nothing is downloaded")
    with tf.io.gfile.GFile(path, "rb") as file:
        compressed = file.read()
    try:
        content = gzip.decompress(compressed)
        found, *_ = np.frombuffer(content, ">i4", 1)
        if found != magic:
            raise ValueError(f"it starts with {found}, not {magic}")
        rank = 3 if magic == _IMAGES_MAGIC else 1
        shape = np.frombuffer(content, ">i4", rank, offset=4)
        return np.frombuffer(content, np.uint8, offset=4 + 4 * rank).reshape(shape)
    except (OSError, EOFError, ValueError, zlib.error) as error:  # gzip has one for each way to be damaged
        remedy = "the file is another one, or damaged: fetch it anew"
        raise UserError(f"not a file of digits: {error}", where=path, remedy=remedy) from error
