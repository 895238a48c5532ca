"""The closed list of what can be wrong with a dataset, and the shape of one finding."""

import dataclasses
import enum
from collections.abc import Mapping
from typing import NamedTuple

from preprocessing.curation.facts import ImageFacts


class Severity(enum.StrEnum):
    """How much a finding matters to a model that is trained on the data."""

    ERROR = "error"  # the model, or what is measured of it, will be wrong
    WARNING = "warning"  # probably harmful: look at it
    NOTE = "note"  # handled, or harmless in most datasets


class Issue(enum.StrEnum):
    """Every kind of finding; the values are those of `issues.csv` and `--drop`."""

    UNREADABLE = "unreadable"
    TRUNCATED = "truncated"
    UNSUPPORTED_MODE = "unsupported_mode"
    LABEL_CONFLICTS = "label_conflicts"
    SIMILAR_LABEL_CONFLICTS = "similar_label_conflicts"
    SPLIT_LEAKAGE = "split_leakage"
    EXACT_DUPLICATES = "exact_duplicates"
    PIXEL_DUPLICATES = "pixel_duplicates"
    NEAR_DUPLICATES = "near_duplicates"
    DARK = "dark"
    BRIGHT = "bright"
    BLURRY = "blurry"
    LOW_INFORMATION = "low_information"
    ODD_ASPECT = "odd_aspect"
    ODD_SIZE = "odd_size"
    TOO_SMALL = "too_small"
    WRONG_EXTENSION = "wrong_extension"
    ROTATED = "rotated"
    CLASS_MISSING_IN_SPLIT = "class_missing_in_split"
    TOO_FEW_PER_CLASS = "too_few_per_class"
    CLASS_IMBALANCE = "class_imbalance"
    LABEL_PROPERTY_CORRELATION = "label_property_correlation"
    SPLIT_RATIO_DRIFT = "split_ratio_drift"


@dataclasses.dataclass(frozen=True)
class IssueKind:
    """What the report says about an issue; `is_droppable` where leaving the image out is a remedy."""

    severity: Severity
    title: str
    meaning: str
    is_droppable: bool = False


KINDS: Mapping[Issue, IssueKind] = {
    Issue.UNREADABLE: IssueKind(
        Severity.ERROR, "Unreadable", "The row could not be used and is not in the dataset: see quarantine.jsonl."
    ),
    Issue.TRUNCATED: IssueKind(
        Severity.ERROR, "Truncated", "The file ends before its image does. It is not in the dataset; fetch it again."
    ),
    Issue.UNSUPPORTED_MODE: IssueKind(
        Severity.ERROR,
        "Unsupported pixels",
        "No brightness is defined for such pixels. The image is not in the dataset.",
    ),
    Issue.LABEL_CONFLICTS: IssueKind(
        Severity.ERROR,
        "Same image, different labels",
        "At least one of the labels is wrong, or the classes overlap. Dropping leaves out every copy.",
        is_droppable=True,
    ),
    Issue.SIMILAR_LABEL_CONFLICTS: IssueKind(
        Severity.WARNING,
        "Similar images, different labels",
        "Nearly the same picture under two labels: look whether both are right.",
        is_droppable=True,
    ),
    Issue.SPLIT_LEAKAGE: IssueKind(
        Severity.ERROR,
        "Leak between splits",
        "The input wants copies of one picture in different splits, so that a model is tested on what it was trained "
        "on. All copies go to one split: training first, then validation.",
    ),
    Issue.EXACT_DUPLICATES: IssueKind(
        Severity.WARNING,
        "Exact duplicates",
        "The same file more than once in one class. Dropping keeps one.",
        is_droppable=True,
    ),
    Issue.PIXEL_DUPLICATES: IssueKind(
        Severity.WARNING,
        "Identical pixels",
        "The same pixels in different files of one class. Dropping keeps one.",
        is_droppable=True,
    ),
    Issue.NEAR_DUPLICATES: IssueKind(
        Severity.WARNING,
        "Near-duplicates",
        "Nearly the same picture in one class: another size, quality, exposure, or a little trimmed. "
        "Dropping keeps the largest.",
        is_droppable=True,
    ),
    Issue.DARK: IssueKind(Severity.WARNING, "Dark", "Hardly a pixel is bright.", is_droppable=True),
    Issue.BRIGHT: IssueKind(Severity.WARNING, "Bright", "Hardly a pixel is not white.", is_droppable=True),
    Issue.BLURRY: IssueKind(
        Severity.WARNING, "Blurry", "Even the sharpest part of the image has no sharp edges.", is_droppable=True
    ),
    Issue.LOW_INFORMATION: IssueKind(
        Severity.WARNING, "Low information", "Nearly one flat colour: a blank page, a placeholder.", is_droppable=True
    ),
    Issue.ODD_ASPECT: IssueKind(
        Severity.WARNING, "Odd aspect", "So long and narrow that a square crop shows little of it.", is_droppable=True
    ),
    Issue.ODD_SIZE: IssueKind(
        Severity.NOTE, "Odd size", "Far smaller or larger than the other images.", is_droppable=True
    ),
    Issue.TOO_SMALL: IssueKind(Severity.WARNING, "Too small", "Few pixels to learn from.", is_droppable=True),
    Issue.WRONG_EXTENSION: IssueKind(
        Severity.NOTE, "Wrong extension", "The name claims another format than the content has. The content counts."
    ),
    Issue.ROTATED: IssueKind(
        Severity.NOTE,
        "Rotated by EXIF",
        "Stored lying or mirrored, with a note how to turn it. The dataset has it upright.",
    ),
    Issue.CLASS_MISSING_IN_SPLIT: IssueKind(
        Severity.ERROR,
        "Class missing in a split",
        "The class cannot be learned, or what is learned cannot be measured.",
    ),
    Issue.TOO_FEW_PER_CLASS: IssueKind(
        Severity.WARNING, "Too few images of a class", "Too few to learn the class from, and to measure how well."
    ),
    Issue.CLASS_IMBALANCE: IssueKind(
        Severity.WARNING, "Class imbalance", "A model that hardly ever predicts the class still looks good on average."
    ),
    Issue.LABEL_PROPERTY_CORRELATION: IssueKind(
        Severity.WARNING,
        "Property gives label away",
        "One simple property tells the class from the others: a model may learn it in place of the subject.",
    ),
    Issue.SPLIT_RATIO_DRIFT: IssueKind(
        Severity.NOTE, "Splits off their shares", "A split has clearly more or fewer images than was asked for."
    ),
}


class ImageReference(NamedTuple):
    """Which row a finding is about; `path` is where its image can be read."""

    path: str
    name: str
    label: str
    split: str

    @classmethod
    def of(cls, facts: ImageFacts) -> "ImageReference":
        """Returns the reference to an image."""
        return cls(facts.path, facts.name, facts.label, facts.split or facts.asked_split)


class Finding(NamedTuple):
    """One line of `issues.csv`: an issue of an image (or of a whole class or split, with an empty path and name).

    `partner` is the other image of a pair. The worse of two findings of one issue has the larger `score`.
    """

    issue: Issue
    image: ImageReference
    detail: str
    score: float = 0.0
    partner: ImageReference | None = None

    @property
    def severity(self) -> Severity:
        """How much it matters."""
        return KINDS[self.issue].severity


def about_class(issue: Issue, label: str, detail: str, score: float = 0.0, split: str = "") -> Finding:
    """Returns a finding about a class, or about a class in one split, or with an empty label about a split."""
    return Finding(issue, ImageReference("", "", label, split), detail, score)
