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
    return DatasetDirectory(directory, DatasetInfo.from_json(content, where=info_path))


def _not_a_dataset(directory: str) -> UserError:
    if not tf.io.gfile.isdir(directory):
        return UserError("no such directory", where=directory, remedy="give the directory that `convert` wrote")
    return UserError(
        f"not a dataset: it has no {schema.DATASET_INFO_FILE}",
        where=directory,
        remedy="that file is written last, so run `convert` again if it was interrupted",
    )


def shard_records(paths: tf.Tensor, counts: tf.Tensor) -> tf.data.Dataset:
    """Reads several shards at once, interleaved in a fixed order, and checks that each holds what it must.

    Args:
      paths: string `[num_shards]`.
      counts: int64 `[num_shards]`, the records that each must hold.

    Returns:
      `((record, number), shard)`: a serialised example, its number in the shard (-1: missing), and the shard's path,
      all scalars. Reading fails, and names the shard, when it holds more records than it must.
    """
    return tf.data.Dataset.from_tensor_slices((paths, counts)).interleave(
        _counted_records,
        cycle_length=_SHARDS_READ_AT_ONCE,
        num_parallel_calls=_SHARDS_READ_AT_ONCE,
        deterministic=True,
    )


def _counted_records(path: tf.Tensor, count: tf.Tensor) -> tf.data.Dataset:
    """Reads one shard with the check that TensorFlow lacks: it takes a shard cut between two records for a good one.

    Zipped datasets make the check free, where a function called for each record would cost as much as reading it. `zip`
    asks its parts in order: a record too many goes on to ask for its number, and that fails.
    """

    def fail(path):
        message = ["shard", path, "holds more records than dataset.json promises"]
        with tf.control_dependencies([tf.debugging.Assert(False, message)]):
            return tf.constant(0, tf.int64)

    numbers = tf.data.Dataset.range(count).concatenate(tf.data.Dataset.from_tensors(path).map(fail))
    present = tf.data.Dataset.zip(tf.data.TFRecordDataset(path, buffer_size=_READ_BUFFER_BYTES), numbers)
    missing = tf.data.Dataset.from_tensors((b"", tf.constant(-1, tf.int64))).repeat()
    shards = tf.data.Dataset.from_tensor_slices(tf.fill([count], path))
    return tf.data.Dataset.zip(present.concatenate(missing), shards)


@dataclasses.dataclass(frozen=True)
class RecordParser:
    """Parses the records of one dataset; its labels come out 0-based whatever `label_offset` is."""

    label_offset: int
    num_classes: int

    def __call__(self, numbered_record: tuple[tf.Tensor, tf.Tensor], shard: tf.Tensor) -> dict[str, tf.Tensor]:
        """Parses one element of `shard_records`.

        Returns:
          Scalars: `encoded` (string, one image file), `label` (int32), `file_name` (string). Parsing fails, and names
          the shard, when the record is missing or its label is not among the classes.
        """
        record, number = numbered_record
        message = ["shard", shard, "holds fewer records than dataset.json promises"]
        is_present = tf.debugging.Assert(number >= 0, message)
        features = {
            schema.IMAGE_ENCODED: tf.io.FixedLenFeature([], tf.string),
            schema.IMAGE_FILENAME: tf.io.FixedLenFeature([], tf.string, default_value=""),
            schema.CLASS_LABEL: tf.io.FixedLenFeature([], tf.int64),
        }
        with tf.control_dependencies([is_present]):
            example = tf.io.parse_single_example(record, features)
        stored_label = example[schema.CLASS_LABEL]
        label = tf.cast(stored_label - self.label_offset, tf.int32)
        message = ["label", stored_label, "of record", number, "in shard", shard, "is none of dataset.json's classes"]
        is_known = tf.debugging.Assert(tf.logical_and(label >= 0, label < self.num_classes), message)
        with tf.control_dependencies([is_known]):
            label = tf.identity(label)
        return {"encoded": example[schema.IMAGE_ENCODED], "label": label, "file_name": example[schema.IMAGE_FILENAME]}


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

    def example(numbered_record, shard):
        parsed = parse(numbered_record, shard)
        image = tf.io.decode_image(parsed["encoded"], channels=3, expand_animations=False)
        return {"image": image, "label": parsed["label"], "file_name": parsed["file_name"]}

    return shard_records(paths, counts).map(example, num_parallel_calls=tf.data.AUTOTUNE)
