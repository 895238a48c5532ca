"""Reads a dataset directory from end to end and says whether it is what `dataset.json` says."""

import collections
import dataclasses
from collections.abc import Iterator
from typing import Any, BinaryIO

import google_crc32c

from preprocessing import example_proto, schema, storage, tfrecord
from preprocessing.dataset_info import DatasetInfo, ShardInfo
from preprocessing.errors import UserError

Example = dict[str, list[Any]]


@dataclasses.dataclass
class SplitContents:
    """What the records of one split hold; `sizes` are (width, height)."""

    class_counts: collections.Counter[int] = dataclasses.field(default_factory=collections.Counter)
    formats: collections.Counter[str] = dataclasses.field(default_factory=collections.Counter)
    digests: set[bytes] = dataclasses.field(default_factory=set)
    sizes: collections.Counter[tuple[int, int]] = dataclasses.field(default_factory=collections.Counter)

    def add(self, example: Example, label_offset: int) -> None:
        """Counts one example; raises ValueError when it lacks what every record has."""
        try:
            self.class_counts[example[schema.CLASS_LABEL][0] - label_offset] += 1
            self.formats[example[schema.IMAGE_FORMAT][0].decode()] += 1
            self.sizes[example[schema.IMAGE_WIDTH][0], example[schema.IMAGE_HEIGHT][0]] += 1
            self.digests.add(bytes.fromhex(example[schema.IMAGE_DIGEST][0].decode()))
        except (LookupError, TypeError, AttributeError) as error:
            raise ValueError(f"a record lacks what every record has ({error!r})") from error


@dataclasses.dataclass(frozen=True)
class Inspection:
    """The result: `problems` is empty when the dataset is whole. `shared` counts images that two splits hold."""

    info: DatasetInfo
    contents: dict[str, SplitContents]
    problems: tuple[str, ...]
    num_shared: int


def read_info(dataset: str) -> DatasetInfo:
    """Returns the content of `dataset.json`; UserError when the folder holds none, or a damaged one."""
    path = storage.join(dataset, schema.DATASET_INFO_FILE)
    with storage.failures_told("read", dataset):
        if not storage.of(dataset).exists(path):
            raise UserError("is not a dataset directory (it has no dataset.json)", where=dataset)
        return DatasetInfo.from_json(storage.read_bytes(path), where=path)


def inspect(dataset: str) -> Inspection:
    """Reads every record of a dataset and compares it with `dataset.json`; UserError when there is no dataset."""
    info = read_info(dataset)
    problems: list[str] = []
    contents = {name: SplitContents() for name in schema.SPLITS if name in info.splits}
    for name, split in sorted(info.splits.items()):
        for shard in split.shards:
            problems += _shard_problems(storage.join(dataset, shard.name), shard, contents[name], info.label_offset)
        counted = tuple(contents[name].class_counts[index] for index in range(info.num_classes))
        if counted != split.class_counts or contents[name].class_counts.total() != split.num_examples:
            problems.append(f"{name}: the examples of each class are not those that dataset.json counts")
    digests = [split.digests for split in contents.values()]
    num_shared = sum(map(len, digests)) - len(set().union(*digests))
    return Inspection(info, contents, tuple(problems), num_shared)


def read_examples(dataset: str, info: DatasetInfo, split: str) -> Iterator[Example]:
    """Yields the examples of a split in their order; raises ValueError at the first damage."""
    for shard in info.split(split, where=dataset).shards:
        path = storage.join(dataset, shard.name)
        with storage.of(path).open_binary(path) as file:
            yield from map(example_proto.decode, tfrecord.read_records(file))


class _CountingReader:
    """Passes a file through and sums up what was read."""

    def __init__(self, file: BinaryIO):
        self._file = file
        self.num_bytes = 0
        self.crc32c = 0

    def read(self, size: int) -> bytes:
        """Returns the next bytes."""
        data = self._file.read(size)
        self.num_bytes += len(data)
        self.crc32c = google_crc32c.extend(self.crc32c, data)
        return data


def _shard_problems(path: str, shard: ShardInfo, contents: SplitContents, label_offset: int) -> list[str]:
    """Adds a shard's examples to the contents and returns what is wrong with it: nothing, or the first damage."""
    try:
        _read_shard(path, shard, contents, label_offset)
    except FileNotFoundError:
        return [f"{shard.name}: is missing"]
    except OSError as error:
        return [f"{shard.name}: cannot be read ({error.strerror or error})"]
    except ValueError as error:
        return [f"{shard.name}: {error}"]
    return []


def _read_shard(path: str, shard: ShardInfo, contents: SplitContents, label_offset: int) -> None:
    num_examples = 0
    with storage.of(path).open_binary(path) as file:
        reader = _CountingReader(file)
        for record in tfrecord.read_records(reader):
            contents.add(example_proto.decode(record), label_offset)
            num_examples += 1
    if num_examples != shard.num_examples:
        raise ValueError(f"holds {num_examples} examples, dataset.json says {shard.num_examples}")
    if (reader.num_bytes, f"{reader.crc32c:08x}") != (shard.num_bytes, shard.crc32c):
        raise ValueError("is another file than the one that dataset.json names (its checksum differs)")
