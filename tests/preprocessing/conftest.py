"""Conversions as a user runs them, on the real runner."""

import dataclasses
import json
import pathlib

import pytest

from preprocessing import example_proto, schema, task, tfrecord
from preprocessing.dataset_info import DatasetInfo
from tests.preprocessing import pictures


@dataclasses.dataclass(frozen=True)
class Dataset:
    """A dataset directory, read with nothing of the code that wrote it but the formats."""

    folder: pathlib.Path

    @property
    def info(self) -> DatasetInfo:
        path = self.folder / schema.DATASET_INFO_FILE
        return DatasetInfo.from_json(path.read_text(), where=str(path))

    def examples(self, split: str) -> list[dict]:
        records = []
        for shard in self.info.splits[split].shards:
            with open(self.folder / shard.name, "rb") as file:
                records += [example_proto.decode(record) for record in tfrecord.read_records(file)]
        return [{key: values[0] for key, values in record.items()} for record in records]

    def all_examples(self) -> list[dict]:
        return [example for split in self.info.splits for example in self.examples(split)]

    def split_of_each_image(self) -> dict[str, str]:
        return {
            example[schema.IMAGE_FILENAME].decode(): split
            for split in self.info.splits
            for example in self.examples(split)
        }

    def lines(self, name: str) -> list[dict]:
        return [json.loads(line) for line in (self.folder / name).read_text().splitlines()]

    def files(self) -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in sorted(self.folder.iterdir())}


@pytest.fixture
def convert(tmp_path):
    """Runs `tpu-images convert` in this process: `convert(input, *flags)` returns the Dataset."""

    def run(source, *flags: str, output: str = "dataset") -> Dataset:
        assert task.main([str(source), str(tmp_path / output), *flags]) == 0
        return Dataset(tmp_path / output)

    return run


@pytest.fixture
def photos(tmp_path) -> pathlib.Path:
    """A folder with 20 JPEGs of cats and 20 of dogs."""
    root = tmp_path / "photos"
    pictures.write_class_folders(root, num_per_class=20)
    return root
