"""Copies and near-copies of a picture land in one split, or evaluation would be fooled."""

import json
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import apache_beam as beam
from apache_beam import pvalue

from preprocessing import schema
from preprocessing.reading import ScannedImage
from preprocessing.split import SplitFractions
from preprocessing.transforms import ImageBatch

CHANGES = "changes"  # tag of the output beside the main one
# What happened to a row.
MOVED = "moved"
DROPPED = "dropped"


class Selected(NamedTuple):
    """What goes on to the shards, as PCollections: `images` are `(split, ImageBatch)`."""

    images: Any
    changes: Any
    quarantined: Any


class Change(NamedTuple):
    """One line of `changes.jsonl`: what became of a row against, or beside, what the input says."""

    path: str
    change: str
    reason: str
    detail: str

    def to_json(self) -> str:
        """Returns the line, without its line break; ASCII only, so that hostile names stay visible."""
        return json.dumps(self._asdict())


def by_digest(batch: ImageBatch) -> Iterator[tuple[str, ScannedImage]]:
    """Yields the images of a batch with their digests as keys: copies meet in one group."""
    return ((image.digest, image) for image in batch.images)


class AssignGroups(beam.DoFn):
    """`(group id, images)` -> `(split, batch)`, and the changes this took."""

    def __init__(self, fractions: SplitFractions, seed: int):
        self._fractions = fractions
        self._seed = seed

    def process(self, element: tuple[str, Iterable[ScannedImage]]) -> Iterator[Any]:
        """Assigns one group."""
        group_id, images = element[0], list(element[1])
        split = group_split(images) or self._fractions.choose(group_id, self._seed)
        for change in moves(images, split):
            yield pvalue.TaggedOutput(CHANGES, change)
        yield split, ImageBatch(images)


def group_split(images: Sequence[ScannedImage]) -> str:
    """Returns the split that the input asks for, "" if for none.

    Where it asks for several, training wins over validation, and validation over test: what is evaluated was then never
    trained on, and no test set holds an image that its author left out.
    """
    asked = {image.row.split for image in images}
    return next((split for split in schema.SPLITS if split in asked), "")


def moves(images: Sequence[ScannedImage], split: str) -> Iterator[Change]:
    """Yields a change for each image that the input wanted in another split."""
    for image in images:
        if image.row.split and image.row.split != split:
            detail = f"from {image.row.split} to {split}"
            yield Change(image.row.name, MOVED, "same_image_in_another_split", detail)
