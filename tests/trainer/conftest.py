"""Small real datasets: pictures encoded by Pillow, in shards that `dataset.json` describes."""

import io
import pathlib
from collections.abc import Callable, Mapping, Sequence

import google_crc32c
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from preprocessing import schema
from preprocessing.dataset_info import DatasetInfo, RowCounts, ShardInfo, SplitInfo


def encode(pixels: np.ndarray, image_format: str = "PNG", **options) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, image_format, **options)
    return file.getvalue()


def picture(height: int, width: int, seed: int = 0) -> np.ndarray:
    """Smooth, coloured and different for each seed: a blown-up 4x4 noise."""
    noise = np.random.default_rng(seed).integers(0, 256, (4, 4, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(noise).resize((width, height), Image.Resampling.BICUBIC))


def serialize(encoded: bytes, label: int, image_format: str, file_name: str) -> bytes:
    values = {
        schema.IMAGE_ENCODED: tf.train.Feature(bytes_list=tf.train.BytesList(value=[encoded])),
        schema.IMAGE_FORMAT: tf.train.Feature(bytes_list=tf.train.BytesList(value=[image_format.encode()])),
        schema.IMAGE_FILENAME: tf.train.Feature(bytes_list=tf.train.BytesList(value=[file_name.encode()])),
        schema.CLASS_LABEL: tf.train.Feature(int64_list=tf.train.Int64List(value=[label])),
    }
    return tf.train.Example(features=tf.train.Features(feature=values)).SerializeToString()


def write_shard(path: pathlib.Path, records: Sequence[bytes]) -> ShardInfo:
    with tf.io.TFRecordWriter(str(path)) as writer:
        for record in records:
            writer.write(record)
    content = path.read_bytes()
    crc32c = google_crc32c.Checksum(content).hexdigest().decode()
    return ShardInfo(path.name, len(records), len(content), crc32c)


@pytest.fixture
def make_dataset(tmp_path) -> Callable[..., pathlib.Path]:
    """Returns a function that writes a dataset directory.

    Its examples are numbered through all splits: number `n` is a picture of its own, of class `n % num_classes`.
    """

    def make(
        split_sizes: Mapping[str, int],
        *,
        image_size: tuple[int, int] = (12, 16),
        image_format: str = "PNG",
        num_classes: int = 3,
        num_shards: int = 2,
        label_offset: int = 0,
    ) -> pathlib.Path:
        directory = tmp_path / "dataset"
        directory.mkdir()
        splits, number = {}, 0
        for split, size in split_sizes.items():
            labels = [n % num_classes for n in range(number, number + size)]
            records = [
                serialize(
                    encode(picture(*image_size, seed=n), image_format), label + label_offset, image_format, f"{n}.img"
                )
                for n, label in zip(range(number, number + size), labels, strict=True)
            ]
            shards = tuple(
                write_shard(directory / schema.shard_file_name(split, index, num_shards), records[index::num_shards])
                for index in range(num_shards)
            )
            splits[split] = SplitInfo(shards, tuple(labels.count(label) for label in range(num_classes)))
            number += size
        info = DatasetInfo(
            class_names=tuple(f"class{label}" for label in range(num_classes)),
            splits=splits,
            counts=RowCounts(rows_in=number, written=number, quarantined=0),
            label_offset=label_offset,
        )
        (directory / schema.DATASET_INFO_FILE).write_text(info.to_json())
        return directory

    return make
