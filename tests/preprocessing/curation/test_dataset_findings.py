import numpy as np
import pytest

from preprocessing.curation import dataset_findings
from preprocessing.curation.dataset_summary import DatasetSummary
from preprocessing.curation.facts import ImageFacts
from preprocessing.curation.fingerprints import Fingerprint
from preprocessing.curation.issues import Issue
from preprocessing.curation.properties import ImageProperties
from preprocessing.curation.thresholds import DatasetThresholds

TYPICAL = ImageProperties(200, 150, 20_000, 0.5, 0.1, 0.9, 0.2, 7.0, 0.3, 0.2)
NO_FINGERPRINT = Fingerprint(b"", 0, b"", False)


def image(label: str, split: str = "train", **measured) -> ImageFacts:
    properties = TYPICAL._replace(**measured)
    return ImageFacts("/in/a.jpg", "a.jpg", label, "", "00", "JPEG", 1, properties, NO_FINGERPRINT, split)


def findings(images: list[ImageFacts], class_names: str = "", fractions=None) -> dict[Issue, list[tuple[str, str]]]:
    """The `(label, split)` of each finding by issue."""
    found: dict[Issue, list[tuple[str, str]]] = {}
    names = list(class_names) or sorted({each.label for each in images})
    for each in dataset_findings.of_dataset(DatasetSummary().add(images), names, fractions, DatasetThresholds()):
        found.setdefault(each.issue, []).append((each.image.label, each.image.split))
    return found


def balanced(number: int = 40) -> list[ImageFacts]:
    random = np.random.default_rng(0)
    return [
        image(label, split, brightness=brightness)
        for label in "ab"
        for split in ("train", "test")
        for brightness in random.uniform(0.2, 0.8, number)
    ]


def test_nothing_is_wrong_with_balanced_classes():
    assert findings(balanced(), fractions={"train": 0.5, "test": 0.5}) == {}


def test_few_images_and_a_class_without_any():
    found = findings([*balanced(), *[image("c"), image("c", "test")] * 3], class_names="abcd")
    assert found[Issue.TOO_FEW_PER_CLASS] == [("c", ""), ("d", "")]
    assert found[Issue.CLASS_IMBALANCE] == [("d", "")]


def test_imbalance_is_relative_to_the_mean_class():
    images = [image("a")] * 1000 + [image("b")] * 1000 + [image("c")] * 30
    assert findings(images)[Issue.CLASS_IMBALANCE] == [("c", "")]


def test_a_class_missing_in_a_split():
    assert findings([*balanced(), *[image("c")] * 30])[Issue.CLASS_MISSING_IN_SPLIT] == [("c", "test")]


@pytest.mark.parametrize(
    ("name", "values"), [("brightness", (0.1, 0.6)), ("saturation", (0.0, 0.5)), ("num_bytes", (900, 20_000))]
)
def test_a_property_that_tells_a_class(name, values):
    """Night photographs are dark, one class is grey, one came through another camera."""
    images = [image(label, **{name: value}) for label, value in zip("ab", values, strict=True) for _ in range(20)]
    assert findings(images)[Issue.LABEL_PROPERTY_CORRELATION] == [("a", ""), ("b", "")]


def test_a_few_images_prove_no_correlation():
    images = [image("a", brightness=0.1)] * 9 + [image("b")] * 100
    assert Issue.LABEL_PROPERTY_CORRELATION not in findings(images)


def test_separation_is_the_area_under_the_roc_curve():
    random = np.random.default_rng(0)
    of_class, of_others = random.integers(0, 10, (2, 40))
    pairs = of_class[:, None] - of_others[None, :]
    expected = ((pairs > 0) + 0.5 * (pairs == 0)).mean()
    of_class, of_others = np.bincount(of_class, minlength=40), np.bincount(of_others, minlength=40)
    assert dataset_findings.separation(of_class, of_others) == pytest.approx(expected)


@pytest.mark.parametrize(("num_test", "is_off"), [(200, False), (215, False), (320, True), (60, True)])
def test_splits_off_their_shares(num_test, is_off):
    images = [image("a")] * (1000 - num_test) + [image("a", "test")] * num_test
    found = findings(images, fractions={"train": 0.8, "test": 0.2})
    assert (Issue.SPLIT_RATIO_DRIFT in found) is is_off


def test_a_small_dataset_may_be_off_by_chance():
    images = [image("a")] * 9 + [image("a", "test")] * 3
    assert Issue.SPLIT_RATIO_DRIFT not in findings(images, fractions={"train": 0.9, "test": 0.1})


def test_an_empty_dataset():
    assert findings([]) == {}
    assert set(findings([], class_names="a")) == {Issue.TOO_FEW_PER_CLASS}


def test_summaries_add_up_in_any_parts():
    images = balanced()
    whole = DatasetSummary().add(images)
    parts = [DatasetSummary().add(images[start::3]) for start in range(3)]
    merged = parts[2].merge(parts[0]).merge(parts[1])
    assert merged.counts == whole.counts
    assert merged.labels == whole.labels == ("a", "b")
    for label in whole.labels:
        assert np.array_equal(merged.histograms[label], whole.histograms[label])
    assert whole.num_images == len(images) == whole.histogram("blur").sum()


def test_quantiles_are_those_of_the_values_up_to_a_bin():
    images = balanced(200)
    values = [each.properties.brightness for each in images]
    summary = DatasetSummary().add(images)
    for fraction in (0.25, 0.5, 0.9):
        assert summary.quantile("brightness", fraction) == pytest.approx(np.quantile(values, fraction), abs=1 / 40)


def test_values_outside_of_a_histogram_count_at_its_ends():
    extremes = [image("a", width=1, height=1, num_bytes=10**9), image("a", width=10**6, height=1, num_bytes=1)]
    histogram = DatasetSummary().add(extremes).histogram("bytes_per_pixel")
    assert (histogram[0], histogram[-1]) == (1, 1)


@pytest.mark.parametrize("values", [{"min_images_per_class": 0}, {"separation_above": 0.5}, {"imbalance_below": 2}])
def test_thresholds_out_of_range(values):
    with pytest.raises(ValueError, match=next(iter(values))):
        DatasetThresholds(**values)
