"""Counts and histograms of a whole dataset: parts are summed, so that no step ever holds all images."""

import collections
import dataclasses
import math
from collections.abc import Callable, Iterable, Mapping

import numpy as np

from preprocessing.curation.facts import ImageFacts
from preprocessing.curation.properties import ImageProperties

NUM_BINS = 40


@dataclasses.dataclass(frozen=True)
class MeasuredProperty:
    """One property of images, and the range of its histogram; values outside count in the first or last bin.

    The bins of a logarithmic property are equally wide in its logarithm to the base of 2.
    """

    name: str
    title: str
    low: float
    high: float
    value: Callable[[ImageProperties], float]
    is_logarithmic: bool = False

    def bin_of(self, properties: ImageProperties) -> int:
        """Returns the bin of an image."""
        scaled, low, high = map(self._scaled, (self.value(properties), self.low, self.high))
        return min(NUM_BINS - 1, max(0, int((scaled - low) / (high - low) * NUM_BINS)))

    def edge(self, bin_index: float) -> float:
        """Returns the value at which a bin begins; fractions lie within a bin."""
        low, high = map(self._scaled, (self.low, self.high))
        edge = low + bin_index / NUM_BINS * (high - low)
        return 2**edge if self.is_logarithmic else edge

    def _scaled(self, value: float) -> float:
        return math.log2(value) if self.is_logarithmic else value


PROPERTIES = (
    MeasuredProperty("brightness", "Brightness", 0, 1, lambda image: image.brightness),
    MeasuredProperty("contrast", "Contrast", 0, 0.5, lambda image: image.contrast),
    MeasuredProperty("saturation", "Saturation", 0, 1, lambda image: image.saturation),
    MeasuredProperty("entropy_bits", "Entropy (bits)", 0, 8, lambda image: image.entropy_bits),
    MeasuredProperty("blur", "Blur", 0, 1, lambda image: image.blur),
    MeasuredProperty("side_pixels", "Size (√pixels)", 4, 2**14, lambda image: image.side_pixels, is_logarithmic=True),
    MeasuredProperty("aspect_ratio", "Width / height", 1 / 8, 8, lambda image: image.aspect_ratio, is_logarithmic=True),
    MeasuredProperty(
        "bytes_per_pixel", "Bytes per pixel", 2**-8, 16, lambda image: image.bytes_per_pixel, is_logarithmic=True
    ),
)
PROPERTY_INDEX: Mapping[str, int] = {each.name: index for index, each in enumerate(PROPERTIES)}


class DatasetSummary:
    """`counts` by `(label, split)`; `histograms` by label, int64 `[properties, bins]`, in the order of `PROPERTIES`."""

    def __init__(self) -> None:
        self.counts: collections.Counter[tuple[str, str]] = collections.Counter()
        self.histograms: dict[str, np.ndarray] = {}

    def add(self, images: Iterable[ImageFacts]) -> "DatasetSummary":
        """Adds images and returns itself."""
        for image in images:
            self.counts[image.label, image.split] += 1
            histogram = self._histogram(image.label)
            for index, measured in enumerate(PROPERTIES):
                histogram[index, measured.bin_of(image.properties)] += 1
        return self

    def merge(self, other: "DatasetSummary") -> "DatasetSummary":
        """Adds another summary and returns itself."""
        self.counts.update(other.counts)
        for label, histogram in other.histograms.items():
            self._histogram(label)[:] += histogram
        return self

    def _histogram(self, label: str) -> np.ndarray:
        if label not in self.histograms:
            self.histograms[label] = np.zeros((len(PROPERTIES), NUM_BINS), np.int64)
        return self.histograms[label]

    @property
    def num_images(self) -> int:
        """Images in all classes."""
        return self.counts.total()

    @property
    def labels(self) -> tuple[str, ...]:
        """The classes that have images, sorted."""
        return tuple(sorted(self.histograms))

    def class_size(self, label: str) -> int:
        """Returns how many images a class has."""
        return int(self.histograms[label][0].sum())

    def split_sizes(self) -> dict[str, int]:
        """Returns how many images each split has."""
        sizes: collections.Counter[str] = collections.Counter()
        for (_, split), count in self.counts.items():
            sizes[split] += count
        return dict(sizes)

    def histogram(self, property_name: str) -> np.ndarray:
        """Returns the histogram of a property over all classes, int64 `[bins]`."""
        index = PROPERTY_INDEX[property_name]
        return sum((each[index] for each in self.histograms.values()), np.zeros(NUM_BINS, np.int64))

    def quantile(self, property_name: str, fraction: float) -> float:
        """Returns about which value of a property the given fraction of all images lies below; 0 without images."""
        histogram = self.histogram(property_name)
        below = np.concatenate([[0], np.cumsum(histogram)])
        if not below[-1]:
            return 0.0
        place = float(np.interp(fraction * below[-1], below, np.arange(NUM_BINS + 1)))
        return PROPERTIES[PROPERTY_INDEX[property_name]].edge(place)
