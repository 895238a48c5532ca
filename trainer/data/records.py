"""Opens a dataset directory and reads its records, exactly as many as `dataset.json` promises."""

import dataclasses
import os

import tensorflow as tf

from preprocessing import schema
from preprocessing.dataset_info import DatasetInfo, ShardInfo
from trainer.errors import UserError

_READ_BUFFER_BYTES = 8 * 2**20
_SHARDS_READ_AT_ONCE = 8


@dataclasses.dataclass(frozen=True)
class DatasetDirectory:
    """A dataset directory, local or `gs://`, whose `dataset.json` has been read."""

    path: str
    info: DatasetInfo

    def shard_path(self, shard: ShardInfo) -> str:
        """Returns where the shard's file lies."""
        return os.path.join(self.path, shard.name)


def open_dataset(path: str | os.PathLike[str]) -> DatasetDirectory:
    """Reads `dataset.json` and nothing else.

    Raises:
      UserError: when there is no such directory, it is not a (complete) dataset, or its `dataset.json` is damaged.
    """
    directory = os.fspath(path)
    info_path = os.path.join(directory, schema.DATASET_INFO_FILE)
    try:
        with tf.io.gfile.GFile(info_path, "rb") as file:
            content = file.read()
    except tf.errors.NotFoundError as error:
        raise _not_a_dataset(directory) from error
    except tf.errors.OpError as error:
        raise UserError(f"cannot be read ({error.message})", where=info_path) from error
    try:
        text = content.decode()
    except UnicodeDecodeError as error:
        raise UserError("damaged (not UTF-8)", where=info_path, remedy="convert the images again") from error
    return DatasetDirectory(directory, DatasetInfo.from_json(text, where=info_path))


def _not_a_dataset(directory: str) -> UserError:
    if not tf.io.gfile.isdir(directory):
        return UserError("no such directory", where=directory, remedy="give the directory that `convert` wrote")
    return UserError(
        f"not a dataset: it has no {schema.DATASET_INFO_FILE}",
        where=directory,
        remedy="that file is written last, so run `convert` again if it was interrupted",
    )


def shard_records(paths: tf.Tensor, counts: tf.Tensor) -> tf.data.Dataset:
    """Reads several shards at once, interleaved in a fixed order.

    Args:
      paths: string `[num_shards]`.
      counts: int64 `[num_shards]`, the records that each must hold.

    Returns:
      Serialised `tf.train.Example`s: string scalars. Reading fails, and names the shard, when it holds fewer or more.
    """
    return tf.data.Dataset.from_tensor_slices((paths, counts)).interleave(
        _counted_records,
        cycle_length=_SHARDS_READ_AT_ONCE,
        num_parallel_calls=_SHARDS_READ_AT_ONCE,
        deterministic=True,
    )


def _counted_records(path: tf.Tensor, count: tf.Tensor) -> tf.data.Dataset:
    """Adds the count check that TensorFlow lacks: it reads a shard that was cut between two records as a good one."""
    end_marker = tf.data.Dataset.from_tensors(b"")
    records = tf.data.TFRecordDataset(path, buffer_size=_READ_BUFFER_BYTES).concatenate(end_marker)

    def is_record(index, record):
        is_end = tf.equal(tf.strings.length(record), 0)
        message = ["shard", path, "does not hold the", count, "records that dataset.json promises"]
        with tf.control_dependencies([tf.debugging.Assert(tf.equal(is_end, tf.equal(index, count)), message)]):
            return tf.logical_not(is_end)

    return records.enumerate().filter(is_record).map(lambda index, record: record)


@dataclasses.dataclass(frozen=True)
class RecordParser:
    """Parses serialised examples of one dataset; its labels come out 0-based whatever `label_offset` is."""

    label_offset: int
    num_classes: int

    def __call__(self, record: tf.Tensor) -> dict[str, tf.Tensor]:
        """Returns scalars: `encoded` (string, one image file), `label` (int32), `file_name` (string).

        Reading fails when a label is not among the classes.
        """
        features = {
            schema.IMAGE_ENCODED: tf.io.FixedLenFeature([], tf.string),
            schema.IMAGE_FILENAME: tf.io.FixedLenFeature([], tf.string, default_value=""),
            schema.CLASS_LABEL: tf.io.FixedLenFeature([], tf.int64),
        }
        example = tf.io.parse_single_example(record, features)
        stored_label, file_name = example[schema.CLASS_LABEL], example[schema.IMAGE_FILENAME]
        label = tf.cast(stored_label - self.label_offset, tf.int32)
        is_known = tf.logical_and(label >= 0, label < self.num_classes)
        message = [
            "label",
            stored_label,
            "of",
            file_name,
            "is outside the",
            self.num_classes,
            "classes of dataset.json",
        ]
        with tf.control_dependencies([tf.debugging.Assert(is_known, message)]):
            return {"encoded": example[schema.IMAGE_ENCODED], "label": tf.identity(label), "file_name": file_name}


def load(path: str | os.PathLike[str], split: str) -> tf.data.Dataset:
    """Reads a split for a notebook: whole pictures, once, in a fixed order.

    Returns:
      Dictionaries of `image` (uint8 `[height, width, 3]`, RGB), `label` (int32, 0-based) and `file_name` (string).

    Raises:
      UserError: when there is no such dataset or split.
    """
    dataset = open_dataset(path)
    shards = dataset.info.split(split, where=dataset.path).shards
    paths = tf.constant([dataset.shard_path(shard) for shard in shards], tf.string)
    counts = tf.constant([shard.num_examples for shard in shards], tf.int64)
    parse = RecordParser(dataset.info.label_offset, dataset.info.num_classes)

    def example(record):
        parsed = parse(record)
        image = tf.io.decode_image(parsed["encoded"], channels=3, expand_animations=False)
        return {"image": image, "label": parsed["label"], "file_name": parsed["file_name"]}

    return shard_records(paths, counts).map(example, num_parallel_calls=tf.data.AUTOTUNE)
