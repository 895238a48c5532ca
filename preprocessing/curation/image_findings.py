"""What is wrong with a single image, and with a row that gave none."""

import math
from collections.abc import Iterator

from preprocessing.curation.dataset_summary import DatasetSummary
from preprocessing.curation.facts import ImageFacts
from preprocessing.curation.issues import Finding, ImageReference, Issue
from preprocessing.curation.thresholds import QualityThresholds
from preprocessing.image_header import UPRIGHT
from preprocessing.quarantine import QuarantinedRow, Reason

_QUARANTINE_ISSUES = {
    Reason.TRUNCATED: Issue.TRUNCATED,
    Reason.UNSUPPORTED_MODE: Issue.UNSUPPORTED_MODE,
}


def of_quarantined_row(row: QuarantinedRow) -> Finding:
    """Returns the finding about a row that could not be used."""
    issue = _QUARANTINE_ISSUES.get(Reason(row.reason), Issue.UNREADABLE)
    detail = f"{row.reason}: {row.detail}" if row.detail else row.reason
    return Finding(issue, ImageReference("", row.path, "", ""), detail)


def usual_sides(summary: DatasetSummary, thresholds: QualityThresholds) -> tuple[float, float]:
    """Returns the range, in pixels, of the sides (roots of areas) that are not odd in this dataset."""
    if not summary.num_images:
        return 0.0, math.inf
    lower, upper = (summary.quantile("side_pixels", fraction) for fraction in (0.25, 0.75))
    factor = max(2.0, (upper / lower) ** thresholds.odd_size_spreads)
    return lower / factor, upper * factor


def of_image(
    image: ImageFacts, thresholds: QualityThresholds, usual: tuple[float, float] = (0.0, math.inf)
) -> Iterator[Finding]:
    """Yields the findings about an image; `usual` is the range of `usual_sides`."""
    reference = ImageReference.of(image)
    for issue, detail, score in (*_light(image, thresholds), *_shape(image, thresholds, usual), *_file(image)):
        yield Finding(issue, reference, detail, score)


def _light(image: ImageFacts, thresholds: QualityThresholds) -> Iterator[tuple[Issue, str, float]]:
    measured = image.properties
    if measured.contrast < thresholds.contrast_below or measured.entropy_bits < thresholds.entropy_bits_below:
        detail = f"contrast {measured.contrast:.3f}, entropy {measured.entropy_bits:.1f} bits"
        yield Issue.LOW_INFORMATION, detail, -measured.contrast
    if measured.bright_percentile < thresholds.dark_below:
        yield Issue.DARK, f"99 % of the pixels are darker than {measured.bright_percentile:.2f}", -measured.brightness
    if measured.dark_percentile > thresholds.bright_above:
        yield Issue.BRIGHT, f"95 % of the pixels are brighter than {measured.dark_percentile:.2f}", measured.brightness
    if measured.blur > thresholds.blur_above:
        yield Issue.BLURRY, f"blur {measured.blur:.2f}", measured.blur


def _shape(
    image: ImageFacts, thresholds: QualityThresholds, usual: tuple[float, float]
) -> Iterator[tuple[Issue, str, float]]:
    width, height = image.properties.width, image.properties.height
    size = f"{width}x{height} pixels"
    elongation = max(width, height) / min(width, height)
    if elongation > thresholds.aspect_ratio_above:
        yield Issue.ODD_ASPECT, f"{size}, {elongation:.1f} times as long as wide", elongation
    if min(width, height) < thresholds.short_side_pixels_below:
        yield Issue.TOO_SMALL, size, -min(width, height)
    side, (least, most) = image.properties.side_pixels, usual
    if not least <= side <= most:
        yield Issue.ODD_SIZE, f"{size}; usual are roots of {least:.0f}² to {most:.0f}²", abs(math.log2(side / least))


def _file(image: ImageFacts) -> Iterator[tuple[Issue, str, float]]:
    if image.has_wrong_extension:
        yield Issue.WRONG_EXTENSION, f".{image.extension} holds {image.format}", 0.0
    if image.orientation != UPRIGHT:
        yield Issue.ROTATED, f"EXIF orientation {image.orientation}", 0.0
