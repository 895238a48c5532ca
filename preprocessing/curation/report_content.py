"""What a curation report says, whatever it is written as."""

import collections
import dataclasses
import functools
import itertools
from collections.abc import Iterable, Iterator, Sequence

from preprocessing import schema
from preprocessing.curation.dataset_summary import DatasetSummary
from preprocessing.curation.issues import KINDS, Finding, Issue, Severity
from preprocessing.curation.thresholds import DatasetThresholds, QualityThresholds
from preprocessing.dataset_info import RowCounts

# An issue of more than this share of all images is a trait of the dataset: handwritten digits are all small.
_WIDESPREAD_SHARE = 0.5


@dataclasses.dataclass(frozen=True)
class NearDuplicateSearch:
    """How near-duplicates were found, and how far this can be trusted.

    `used_correlation` is above `asked_correlation` where the whole dataset looks alike. `num_refused_links` counts
    similar pairs that were left in different groups.
    """

    max_distance: int
    asked_correlation: float
    used_correlation: float
    num_refused_links: int


@dataclasses.dataclass(frozen=True)
class ReportContent:
    """All that a report says.

    `findings` are about the rows of the input, whether they were dropped or not; `summary` is of the images that could
    be read, in the splits they were assigned.
    """

    title: str
    class_names: tuple[str, ...]
    rows: RowCounts
    summary: DatasetSummary
    findings: Sequence[Finding]
    near_duplicates: NearDuplicateSearch
    quality_thresholds: QualityThresholds
    dataset_thresholds: DatasetThresholds

    @functools.cached_property
    def by_issue(self) -> dict[Issue, list[Finding]]:
        """The findings of each issue that has some, the worst issues and the worst findings first.

        Of the two findings about a pair of images, each naming the other, there is one.
        """
        found: dict[Issue, list[Finding]] = {}
        for finding in self.findings:
            found.setdefault(finding.issue, []).append(finding)
        return {
            issue: list(_without_mirrored(sorted(found[issue], key=_worst_first)))
            for issue in sorted(found, key=_ISSUE_ORDER.index)
        }

    @functools.cached_property
    def class_issues(self) -> dict[str, collections.Counter[Issue]]:
        """How many findings of each issue a class has."""
        counts: dict[str, collections.Counter[Issue]] = collections.defaultdict(collections.Counter)
        for finding in self.findings:
            counts[finding.image.label][finding.issue] += 1
        return dict(counts)

    @property
    def splits(self) -> tuple[str, ...]:
        """The splits that have images, in their usual order."""
        sizes = self.summary.split_sizes()
        return tuple(split for split in schema.SPLITS if split in sizes)

    def share(self, issue: Issue) -> float:
        """Returns the share of all input rows with an issue."""
        return len(self.by_issue.get(issue, ())) / max(1, self.rows.rows_in)

    def is_widespread(self, issue: Issue) -> bool:
        """Whether the issue is a trait of the whole dataset, more than a fault of single images."""
        return self.share(issue) > _WIDESPREAD_SHARE

    def severity(self, issue: Issue) -> Severity:
        """Returns how much an issue matters in this dataset."""
        severity = KINDS[issue].severity
        return Severity.NOTE if self.is_widespread(issue) and severity is Severity.WARNING else severity

    def num_issues(self, severity: Severity) -> int:
        """Returns how many kinds of issues of a severity there are."""
        return sum(self.severity(issue) is severity for issue in self.by_issue)


_ISSUE_ORDER = sorted(Issue, key=lambda issue: (list(Severity).index(KINDS[issue].severity), list(Issue).index(issue)))


def examples(findings: Iterable[Finding], number: int) -> list[Finding]:
    """Returns some of the sorted findings: one of each class in turn, so that a large class does not hide others."""
    by_label: dict[str, list[Finding]] = collections.defaultdict(list)
    for finding in findings:
        by_label[finding.image.label].append(finding)
    in_turn = itertools.zip_longest(*by_label.values())
    return list(itertools.islice((each for each in itertools.chain.from_iterable(in_turn) if each), number))


def _without_mirrored(findings: Iterable[Finding]) -> Iterator[Finding]:
    pairs = set()
    for finding in findings:
        if finding.image == finding.partner or (finding.partner, finding.image) not in pairs:
            pairs.add((finding.image, finding.partner))
            yield finding


def _worst_first(finding: Finding) -> tuple:
    return -finding.score, finding.image, finding.detail


def in_order(content: ReportContent) -> Iterator[Finding]:
    """Yields all findings, the worst issues first."""
    return itertools.chain.from_iterable(content.by_issue.values())
