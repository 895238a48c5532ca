"""Reads images and finds out all that curation keeps of them; loads nothing of Beam."""

from collections.abc import Sequence

from preprocessing import reading
from preprocessing.curation import facts
from preprocessing.curation.facts import ImageFacts
from preprocessing.options import ImageOptions
from preprocessing.quarantine import QuarantinedRow, RejectedError, Stage, quarantined
from preprocessing.reading import ScannedImage
from preprocessing.rows import Row
from preprocessing.worker import Worker

Inspected = tuple[ScannedImage, ImageFacts]


def inspect_images(rows: Sequence[Row], options: ImageOptions, worker: Worker) -> list[Inspected | QuarantinedRow]:
    """Returns for each row its scanned image and the facts about it, or why the row cannot be used."""
    results = worker.map_each(lambda row: _inspect(row, options, worker), rows)
    worker.progress.add(scanned=len(results))
    return results


def _inspect(row: Row, options: ImageOptions, worker: Worker) -> Inspected | QuarantinedRow:
    result = reading.read_and_scan(row, options)
    if isinstance(result, QuarantinedRow):
        return result
    data, scanned = result
    header = scanned.header
    try:
        with worker.decoding(header.width * header.height):
            return scanned, facts.inspect_image(data, scanned.digest, row, header)
    except RejectedError as rejected:
        return quarantined(row.name, Stage.DECODE, rejected)
