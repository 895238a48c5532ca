"""What is wrong with classes and splits as a whole, from counts and histograms alone."""

import math
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from preprocessing.curation.dataset_summary import PROPERTIES, DatasetSummary
from preprocessing.curation.issues import Finding, Issue, about_class
from preprocessing.curation.thresholds import DatasetThresholds


def of_dataset(
    summary: DatasetSummary,
    class_names: Sequence[str],
    fractions: Mapping[str, float] | None,
    thresholds: DatasetThresholds,
) -> list[Finding]:
    """Returns the findings about classes and splits; `fractions` are those asked for, None where the input decides."""
    return [
        *_class_sizes(summary, class_names, thresholds),
        *_missing_in_splits(summary),
        *_separating_properties(summary, thresholds),
        *_split_drift(summary, fractions or {}, thresholds),
    ]


def separation(of_class: np.ndarray, of_others: np.ndarray) -> float:
    """Returns the area under the ROC curve (0..1) of telling a class from the others by one binned property.

    It is the probability that an image of the class has a larger value than one of the others; equal bins count half.
    Both histograms are `[bins]`, neither empty.
    """
    others_below = np.cumsum(of_others) - of_others / 2
    return float(of_class @ others_below / (of_class.sum() * of_others.sum()))


def _class_sizes(
    summary: DatasetSummary, class_names: Sequence[str], thresholds: DatasetThresholds
) -> Iterator[Finding]:
    sizes = dict.fromkeys(class_names, 0) | {label: summary.class_size(label) for label in summary.labels}
    mean_size = summary.num_images / max(1, len(sizes))
    for label, size in sizes.items():
        if size < thresholds.min_images_per_class:
            detail = f"{size:,} images, fewer than {thresholds.min_images_per_class}"
            yield about_class(Issue.TOO_FEW_PER_CLASS, label, detail, -size)
        if size < thresholds.imbalance_below * mean_size:
            detail = f"{size:,} images, the mean class has {mean_size:,.0f}"
            yield about_class(Issue.CLASS_IMBALANCE, label, detail, -size)


def _missing_in_splits(summary: DatasetSummary) -> Iterator[Finding]:
    for split in sorted(summary.split_sizes()):
        for label in summary.labels:
            if not summary.counts[label, split]:
                detail = f"none of its {summary.class_size(label):,} images is in {split}"
                yield about_class(Issue.CLASS_MISSING_IN_SPLIT, label, detail, summary.class_size(label), split)


def _separating_properties(summary: DatasetSummary, thresholds: DatasetThresholds) -> Iterator[Finding]:
    total = sum(summary.histograms.values(), np.zeros(1, np.int64))
    for label in summary.labels:
        of_class = summary.histograms[label]
        num_others = summary.num_images - summary.class_size(label)
        if min(summary.class_size(label), num_others) < thresholds.min_images_per_class:
            continue
        for index, measured in enumerate(PROPERTIES):
            area = separation(of_class[index], (total - of_class)[index])
            if max(area, 1 - area) > thresholds.separation_above:
                comparison = "more" if area > 0.5 else "less"
                detail = f"{measured.title}: {comparison} than in other classes in {max(area, 1 - area):.1%} of pairs"
                yield about_class(Issue.LABEL_PROPERTY_CORRELATION, label, detail, max(area, 1 - area))


def _split_drift(
    summary: DatasetSummary, fractions: Mapping[str, float], thresholds: DatasetThresholds
) -> Iterator[Finding]:
    sizes = summary.split_sizes()
    for split, fraction in fractions.items():
        deviation = math.sqrt(fraction * (1 - fraction) / max(1, summary.num_images))
        share = sizes.get(split, 0) / max(1, summary.num_images)
        drift = abs(share - fraction)
        if drift > max(thresholds.split_drift_above, thresholds.split_drift_deviations * deviation):
            detail = f"{share:.1%} of the images, asked for were {fraction:.1%}"
            yield about_class(Issue.SPLIT_RATIO_DRIFT, "", detail, drift, split)
