import contextlib

import pytest

from preprocessing import reading, schema, writer
from preprocessing.example_proto import decode
from preprocessing.options import ImageOptions
from preprocessing.reading import ScannedImage
from preprocessing.rows import Row
from preprocessing.tfrecord import read_records
from preprocessing.worker import Worker, WorkerOptions
from tests.preprocessing import pictures

RULES = writer.ShardRules({"cat": 0, "dog": 1}, 0, ImageOptions())


@pytest.fixture
def scanned(tmp_path):
    images = []
    for index in range(50):
        path = tmp_path / f"{index}.jpg"
        path.write_bytes(pictures.jpeg(index))
        row = Row(str(path), path.name, "dog" if index % 5 == 0 else "cat", "")
        image = reading.scan_image(row, RULES.images)
        assert isinstance(image, ScannedImage)
        images.append(image)
    return images


def write(path, images, num_threads=2):
    with contextlib.closing(Worker(WorkerOptions(num_threads))) as worker:
        return writer.write_shard(str(path), "train", images, RULES, worker)


def test_a_shard_is_described_as_it_is(scanned, tmp_path):
    import google_crc32c

    shard, not_written = write(tmp_path / "train-00000-of-00001.tfrecord", scanned)
    data = (tmp_path / "train-00000-of-00001.tfrecord").read_bytes()
    assert not_written == []
    assert shard.split == "train"
    assert shard.info.name == "train-00000-of-00001.tfrecord"
    assert (shard.info.num_examples, shard.info.num_bytes) == (50, len(data))
    assert shard.info.crc32c == f"{google_crc32c.value(data):08x}"
    assert shard.class_counts == (40, 10)


def test_order_and_threads_change_nothing(scanned, tmp_path):
    write(tmp_path / "one", scanned)
    write(tmp_path / "other", scanned[::-1], num_threads=7)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "other").read_bytes()


def test_classes_are_mixed(scanned, tmp_path):
    write(tmp_path / "shard", scanned)
    with open(tmp_path / "shard", "rb") as file:
        names = [decode(record)[schema.IMAGE_FILENAME][0] for record in read_records(file)]
    assert names != sorted(names)
    assert len(names) == 50


def test_a_file_that_changed_or_vanished_since_it_was_scanned_is_not_written(scanned, tmp_path):
    (tmp_path / "3.jpg").write_bytes(pictures.jpeg(seed=1_000))
    (tmp_path / "4.jpg").unlink()
    shard, not_written = write(tmp_path / "shard", scanned)
    assert shard.info.num_examples == 48
    assert sorted((row.path, row.stage, row.reason) for row in not_written) == [
        ("3.jpg", "write", "changed_while_converting"),
        ("4.jpg", "read", "not_found"),
    ]


def test_an_empty_shard_is_an_empty_file(tmp_path):
    shard, _ = write(tmp_path / "shard", [])
    assert (tmp_path / "shard").read_bytes() == b""
    assert (shard.info.num_examples, shard.info.crc32c, shard.class_counts) == (0, "00000000", (0, 0))
