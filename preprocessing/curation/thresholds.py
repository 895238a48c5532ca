"""From which value on something counts as an issue."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class QualityThresholds:
    """Thresholds of single images; raises ValueError for values out of range.

    Brightness is luma in 0..1. An image is dark when 99 % of its pixels are darker than `dark_below`, bright when 95 %
    are brighter than `bright_above`; it has low information when its contrast (standard deviation of luma) or its
    entropy is lower than given. `blur_above` is on the scale of `properties.blur`: a sharp photograph has 0.1 to 0.3.
    An odd size is more than a factor of two, and more than `odd_size_spreads` interquartile ranges of the logarithm,
    away from the middle half of all images.
    """

    dark_below: float = 0.32
    bright_above: float = 0.95
    blur_above: float = 0.6
    contrast_below: float = 0.02
    entropy_bits_below: float = 1.0
    aspect_ratio_above: float = 3.0
    short_side_pixels_below: int = 32
    odd_size_spreads: float = 3.0

    def __post_init__(self):
        for name in ("dark_below", "bright_above", "blur_above", "contrast_below"):
            _require(0 <= getattr(self, name) <= 1, self, name, "not within 0..1")
        _require(0 <= self.entropy_bits_below <= 8, self, "entropy_bits_below", "not within 0..8")
        _require(self.aspect_ratio_above >= 1, self, "aspect_ratio_above", "below 1")
        for name in ("short_side_pixels_below", "odd_size_spreads"):
            _require(getattr(self, name) >= 0, self, name, "negative")


@dataclasses.dataclass(frozen=True)
class DatasetThresholds:
    """Thresholds of classes and splits; raises ValueError for values out of range.

    A class is too small below `min_images_per_class`, and imbalanced below `imbalance_below` of the mean class.
    `separation_above` is the area under the ROC curve at which one property alone tells a class from the others. A
    split is off its share when the difference is more than `split_drift_deviations` standard deviations of a fair draw,
    and more than `split_drift_above` of all images.
    """

    min_images_per_class: int = 10
    imbalance_below: float = 0.1
    separation_above: float = 0.95
    split_drift_deviations: float = 4.0
    split_drift_above: float = 0.01

    def __post_init__(self):
        _require(self.min_images_per_class >= 1, self, "min_images_per_class", "below 1")
        _require(0.5 < self.separation_above <= 1, self, "separation_above", "not within 0.5..1")
        for name in ("imbalance_below", "split_drift_above"):
            _require(0 <= getattr(self, name) <= 1, self, name, "not within 0..1")
        _require(self.split_drift_deviations >= 0, self, "split_drift_deviations", "negative")


def _require(is_satisfied: bool, thresholds: object, name: str, what: str) -> None:
    if not is_satisfied:
        raise ValueError(f"{name} is {getattr(thresholds, name)}, {what}")
