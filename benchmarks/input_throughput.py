"""Images per second of the training input, beside the classic way, in one run.

The classic way decodes each JPEG whole, then crops and resizes it. Both use the same records, threads and batch size,
and take turns. The pictures are cut from scikit-learn's two sample photographs, about 110 KB and 0.2 megapixels each,
like those of ImageNet; `--dataset` measures a dataset of your own. Processor time tells more than images per second on
a machine that does other things too.

    python benchmarks/input_throughput.py
"""

import argparse
import dataclasses
import functools
import io
import itertools
import os
import pathlib
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import google_crc32c
import numpy as np
import tensorflow as tf
from PIL import Image
from sklearn import datasets

from preprocessing import schema
from preprocessing.dataset_info import DatasetInfo, RowCounts, ShardInfo, SplitInfo
from trainer.config import ExperimentConfig
from trainer.data.input_fn import make_input_fn
from trainer.data.records import DatasetDirectory, open_dataset

PHOTO_WIDTH, PHOTO_HEIGHT, JPEG_QUALITY = 520, 390, 97
BATCH_SIZE = 64

MakeBatches = Callable[[], tf.data.Dataset]


def main() -> None:
    """Prints images per second of both ways and their ratio."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dataset", help="dataset directory with a train split; made up when not given")
    parser.add_argument("--num_photos", type=int, default=512, help="photographs to make up")
    parser.add_argument("--num_batches", type=int, default=40, help="batches in each turn")
    parser.add_argument("--num_turns", type=int, default=5)
    parser.add_argument("--randaugment_num_layers", type=int, default=0)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        dataset = open_dataset(arguments.dataset or write_photos(pathlib.Path(folder), arguments.num_photos))
        config = ExperimentConfig().replace(
            global_batch_size=BATCH_SIZE,
            shuffle_buffer_size=256,
            randaugment_num_layers=arguments.randaugment_num_layers,
        )
        ways = {
            "ours": functools.partial(our_batches, dataset, config),
            "classic": functools.partial(classic_batches, dataset, config),
        }
        show(dataset, take_turns(ways, arguments.num_turns, arguments.num_batches))


def write_photos(folder: pathlib.Path, num_photos: int) -> pathlib.Path:
    """Writes a dataset of one shard and one class."""
    generator = np.random.default_rng(0)
    photographs = [Image.fromarray(pixels) for pixels in datasets.load_sample_images().images]
    path = folder / schema.shard_file_name(schema.TRAIN, 0, 1)
    with tf.io.TFRecordWriter(str(path)) as writer:
        for number in range(num_photos):
            writer.write(serialize(cut_photo(photographs[number % 2], generator)))
    content = path.read_bytes()
    shard = ShardInfo(path.name, num_photos, len(content), google_crc32c.Checksum(content).hexdigest().decode())
    info = DatasetInfo(
        ("photo",), {schema.TRAIN: SplitInfo((shard,), (num_photos,))}, RowCounts(num_photos, num_photos, 0)
    )
    (folder / schema.DATASET_INFO_FILE).write_text(info.to_json())
    return folder


def cut_photo(photograph: Image.Image, generator: np.random.Generator) -> bytes:
    """Returns a random part of a photograph as a JPEG."""
    left = generator.integers(0, photograph.width - PHOTO_WIDTH)
    top = generator.integers(0, photograph.height - PHOTO_HEIGHT)
    file = io.BytesIO()
    part = photograph.crop((left, top, left + PHOTO_WIDTH, top + PHOTO_HEIGHT))
    part.save(file, "JPEG", quality=JPEG_QUALITY)
    return file.getvalue()


def serialize(encoded: bytes) -> bytes:
    """Returns a record with an image of class 0."""
    features = {
        schema.IMAGE_ENCODED: tf.train.Feature(bytes_list=tf.train.BytesList(value=[encoded])),
        schema.CLASS_LABEL: tf.train.Feature(int64_list=tf.train.Int64List(value=[0])),
    }
    return tf.train.Example(features=tf.train.Features(feature=features)).SerializeToString()


def our_batches(dataset: DatasetDirectory, config: ExperimentConfig) -> tf.data.Dataset:
    """Returns the batches that training reads."""
    return make_input_fn(dataset, schema.TRAIN, "train", config)({"batch_size": BATCH_SIZE})


def classic_batches(dataset: DatasetDirectory, config: ExperimentConfig) -> tf.data.Dataset:
    """Returns batches made the classic way, without checks, fixed order or resuming."""
    size = config.input.image_size
    shards = dataset.info.splits[schema.TRAIN].shards

    def example(record):
        features = {
            schema.IMAGE_ENCODED: tf.io.FixedLenFeature([], tf.string),
            schema.CLASS_LABEL: tf.io.FixedLenFeature([], tf.int64),
        }
        parsed = tf.io.parse_single_example(record, features)
        image = tf.io.decode_jpeg(parsed[schema.IMAGE_ENCODED], channels=3)
        begin, extent, _ = tf.image.sample_distorted_bounding_box(
            tf.shape(image),
            tf.constant([[[0.0, 0.0, 1.0, 1.0]]]),
            min_object_covered=0.1,
            aspect_ratio_range=(3 / 4, 4 / 3),
            area_range=(0.08, 1.0),
            max_attempts=10,
        )
        image = tf.image.resize(tf.slice(image, begin, extent), [size, size])
        image = tf.image.random_flip_left_right(image)
        return tf.cast(image, tf.uint8), tf.cast(parsed[schema.CLASS_LABEL], tf.int32)

    records = tf.data.TFRecordDataset([dataset.shard_path(shard) for shard in shards])
    examples = records.shuffle(config.input.shuffle_buffer_size).repeat()
    batches = examples.map(example, num_parallel_calls=os.cpu_count()).batch(BATCH_SIZE, drop_remainder=True)
    options = tf.data.Options()
    options.threading.private_threadpool_size = os.cpu_count()
    return batches.prefetch(tf.data.AUTOTUNE).with_options(options)


@dataclasses.dataclass(frozen=True)
class Turn:
    """What one turn of one way took per image."""

    wall_secs: float
    processor_secs: float


def take_turns(ways: dict[str, MakeBatches], num_turns: int, num_batches: int) -> dict[str, list[Turn]]:
    """Returns the turns of each way; each starts its input anew, so that none works ahead in another's turn."""
    turns: dict[str, list[Turn]] = {name: [] for name in ways}
    for _, (name, make_batches) in itertools.product(range(num_turns), ways.items()):
        batches = iter(make_batches())
        consume(batches, 4)
        started_secs, started_processor_secs = time.perf_counter(), time.process_time()
        consume(batches, num_batches)
        wall_secs = time.perf_counter() - started_secs
        processor_secs = time.process_time() - started_processor_secs
        turns[name].append(Turn(wall_secs / num_batches / BATCH_SIZE, processor_secs / num_batches / BATCH_SIZE))
    return turns


def consume(batches: Iterator, num_batches: int) -> None:
    """Reads batches and drops them."""
    for _ in itertools.islice(batches, num_batches):
        pass


def show(dataset: DatasetDirectory, turns: dict[str, list[Turn]]) -> None:
    """Prints medians over the turns, and the ratio of both ways."""
    split = dataset.info.splits[schema.TRAIN]
    mean_kilobytes = split.num_bytes / split.num_examples / 1000
    print(f"{split.num_examples} images of {mean_kilobytes:.0f} KB, {os.cpu_count()} threads, batches of {BATCH_SIZE}")
    wall_secs = {name: statistics.median(turn.wall_secs for turn in values) for name, values in turns.items()}
    processor_secs = {name: statistics.median(turn.processor_secs for turn in values) for name, values in turns.items()}
    for name in turns:
        print(f"{name:<8} {1 / wall_secs[name]:7.0f} images/s {1000 * processor_secs[name]:7.2f} ms of processor time")
    wall_ratio = wall_secs["classic"] / wall_secs["ours"]
    print(f"ratio    {wall_ratio:7.2f} {processor_secs['classic'] / processor_secs['ours']:16.2f}")


if __name__ == "__main__":
    main()
