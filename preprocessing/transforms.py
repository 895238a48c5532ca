"""The steps of the Beam job. What travels between them are batches of rows: names, digests and sizes, never images."""

import collections
import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import apache_beam as beam
from apache_beam import pvalue
from apache_beam.transforms import window
from apache_beam.utils import timestamp, windowed_value

from preprocessing import reading, schema, shards, storage, writer
from preprocessing.image_header import ImageHeader
from preprocessing.options import ImageOptions
from preprocessing.quarantine import QuarantinedRow
from preprocessing.reading import ScannedImage
from preprocessing.rows import Row, Source
from preprocessing.split import SplitFractions
from preprocessing.worker import Worker, WorkerOptions

# Tags of the outputs beside the main one.
QUARANTINED = "quarantined"
NUM_ROWS = "num_rows"

# Rows in one element: what Beam does for each element (20 us) is then little for each image.
_BATCH_ROWS = 256

ShardKey = tuple[str, int, int]  # split, index, number of shards


class RowBatch(NamedTuple):
    """Rows in one element. Beam would encode the members of a bare list one by one; this it pickles as a whole."""

    rows: list[Row]


class ImageBatch(NamedTuple):
    """Scanned images in one element, for the same reason."""

    images: list[ScannedImage]

    def __reduce__(self) -> tuple[Any, ...]:
        # Beam pickles a batch at every step, also to know its size: plain tuples take a third of the time.
        return _image_batch, (
            [(tuple(row), digest, crc, tuple(header), size) for row, digest, crc, header, size in self.images],
        )


def _image_batch(plain: Iterable[tuple[Any, ...]]) -> ImageBatch:
    return ImageBatch(
        [ScannedImage(Row(*row), digest, crc, ImageHeader(*header), size) for row, digest, crc, header, size in plain]
    )


class ReadRows(beam.DoFn):
    """Part of a source -> batches of rows; counts all of them."""

    def __init__(self, source: Source):
        self._source = source

    def process(self, unit: tuple[str, str, str]) -> Iterator[Any]:
        """Reads one part of the source."""
        entries = self._source.read(unit)
        while batch := list(itertools.islice(entries, _BATCH_ROWS)):
            yield pvalue.TaggedOutput(NUM_ROWS, len(batch))
            yield from quarantined_outputs(batch)
            if rows := [entry for entry in batch if isinstance(entry, Row)]:
                yield RowBatch(rows)


class WorkerDoFn(beam.DoFn):
    """A DoFn that leaves its work to a worker: threads and processes for an element, some elements at a time.

    Subclasses say in `start` what is to be done for an element, and in `finish` what comes of its result.
    """

    def __init__(self, options: WorkerOptions):
        self._worker_options = options

    def setup(self) -> None:
        """Starts the threads, once for each worker process."""
        self.worker = Worker(self._worker_options)
        self._waiting: collections.deque[Callable[[], Any]] = collections.deque()

    def teardown(self) -> None:
        """Ends threads and processes."""
        self.worker.close()

    def start(self, element: Any) -> Callable[[], Any]:
        """Starts the work on an element; returns what waits for its result."""
        raise NotImplementedError

    def finish(self, result: Any) -> Iterator[Any]:
        """Yields the outputs that come of a result."""
        raise NotImplementedError

    def process(self, element: Any) -> Iterator[Any]:
        """Starts the work on an element; yields the outputs of the earliest ones, when enough wait."""
        self._waiting.append(self.start(element))
        while len(self._waiting) > self.worker.max_waiting:
            yield from self.finish(self._waiting.popleft()())

    def finish_bundle(self) -> Iterator[Any]:
        """Yields the outputs of all elements that wait."""
        while self._waiting:
            yield from map(_in_global_window, self.finish(self._waiting.popleft()()))


def _in_global_window(output: Any) -> Any:
    """Returns what a bundle's end must yield in place of an output."""
    if isinstance(output, pvalue.TaggedOutput):
        return pvalue.TaggedOutput(output.tag, _in_global_window(output.value))
    return windowed_value.WindowedValue(output, timestamp.MIN_TIMESTAMP, (window.GlobalWindow(),))


class ScanImages(WorkerDoFn):
    """Batch of rows -> batch of scanned images."""

    def __init__(self, options: ImageOptions, worker_options: WorkerOptions):
        super().__init__(worker_options)
        self._options = options

    def start(self, batch: RowBatch) -> Callable[[], list[ScannedImage | QuarantinedRow]]:
        """Scans one batch."""
        return self.worker.submit(len(batch.rows), reading.scan_images, batch.rows, self._options)

    def finish(self, results: list[ScannedImage | QuarantinedRow]) -> Iterator[Any]:
        """Yields the batch that comes of it."""
        yield from quarantined_outputs(results)
        if images := [result for result in results if isinstance(result, ScannedImage)]:
            yield ImageBatch(images)


class AssignSplits(beam.DoFn):
    """Batch of scanned images -> `(split, batch)` for each split in it: the row's own, else one by its content."""

    def __init__(self, fractions: SplitFractions, seed: int):
        self._fractions = fractions
        self._seed = seed

    def process(self, batch: ImageBatch) -> Iterator[tuple[str, ImageBatch]]:
        """Assigns one batch."""
        by_split: dict[str, list[ScannedImage]] = {}
        for image in batch.images:
            split = image.row.split or self._fractions.choose(image.digest, self._seed)
            by_split.setdefault(split, []).append(image)
        for split, images in by_split.items():
            yield split, ImageBatch(images)


def split_bytes(element: tuple[str, ImageBatch]) -> tuple[str, int]:
    """Returns a split and about how many bytes the batch adds to it."""
    split, batch = element
    return split, sum(image.stored_bytes for image in batch.images)


class AssignShards(beam.DoFn):
    """`(split, batch)` -> `(shard, images)`: an image's digest says which shard of its split it belongs to."""

    def __init__(self, num_shards: int):
        self._num_shards = num_shards

    def process(
        self, element: tuple[str, ImageBatch], bytes_per_split: Mapping[str, int]
    ) -> Iterator[tuple[ShardKey, ImageBatch]]:
        """Assigns one batch."""
        split, batch = element
        num_shards = self._num_shards or shards.num_shards(bytes_per_split[split])
        by_index: dict[int, list[ScannedImage]] = {}
        for image in batch.images:
            by_index.setdefault(shards.shard_index(image.digest, num_shards), []).append(image)
        for index, members in by_index.items():
            yield (split, index, num_shards), ImageBatch(members)


class ListShards(beam.DoFn):
    """`(split, bytes)` -> every shard of the split, without images: one that gets none is written too."""

    def __init__(self, num_shards: int):
        self._num_shards = num_shards

    def process(self, element: tuple[str, int]) -> Iterator[tuple[ShardKey, ImageBatch]]:
        """Lists the shards of one split."""
        split, num_bytes = element
        num_shards = self._num_shards or shards.num_shards(num_bytes)
        for index in range(num_shards):
            yield (split, index, num_shards), ImageBatch([])


class WriteShard(WorkerDoFn):
    """`(shard, images)` -> one finished file."""

    def __init__(self, folder: str, rules: writer.ShardRules, worker_options: WorkerOptions):
        super().__init__(worker_options)
        self._folder = folder
        self._rules = rules

    def start(
        self, element: tuple[ShardKey, Iterable[ImageBatch]]
    ) -> Callable[[], tuple[writer.WrittenShard, list[QuarantinedRow]]]:
        """Writes one shard."""
        (split, index, num_shards), batches = element
        path = storage.join(self._folder, schema.shard_file_name(split, index, num_shards))
        images = list(itertools.chain.from_iterable(batch.images for batch in batches))
        return self.worker.submit(len(images), writer.write_shard, path, split, images, self._rules)

    def finish(self, result: tuple[writer.WrittenShard, list[QuarantinedRow]]) -> Iterator[Any]:
        """Yields the file and the rows that are not in it."""
        shard, not_written = result
        yield from quarantined_outputs(not_written)
        yield shard


def quarantined_outputs(entries: Iterable[object]) -> Iterator[Any]:
    """Yields the quarantined rows among the entries, tagged."""
    return (pvalue.TaggedOutput(QUARANTINED, entry) for entry in entries if isinstance(entry, QuarantinedRow))
