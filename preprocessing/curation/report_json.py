"""`report.json`: the numbers of a report for programs."""

import dataclasses
import json
from typing import Any

import numpy as np

from preprocessing.curation.dataset_summary import PROPERTIES
from preprocessing.curation.issues import KINDS, Finding, Issue
from preprocessing.curation.report_content import ReportContent

SCHEMA_VERSION = 1


def to_json(content: ReportContent) -> str:
    """Returns the text of the file.

    Single images are in `issues.csv` alone; findings about classes and splits are here as well.
    """
    fields = {
        "schema_version": SCHEMA_VERSION,
        "title": content.title,
        "rows": dataclasses.asdict(content.rows),
        "splits": content.summary.split_sizes(),
        "classes": {label: _class(content, label) for label in content.class_names},
        "issues": {issue.value: _issue(content, issue) for issue in content.by_issue},
        "dataset_findings": [_finding(each) for each in content.findings if not each.image.name],
        "near_duplicates": dataclasses.asdict(content.near_duplicates),
        "thresholds": dataclasses.asdict(content.quality_thresholds) | dataclasses.asdict(content.dataset_thresholds),
        "properties": [_property(content, index) for index in range(len(PROPERTIES))],
    }
    return json.dumps(fields, indent=2) + "\n"


def _class(content: ReportContent, label: str) -> dict[str, Any]:
    return {
        "images": {split: content.summary.counts[label, split] for split in content.splits},
        "issues": {issue.value: count for issue, count in sorted(content.class_issues.get(label, {}).items())},
    }


def _issue(content: ReportContent, issue: Issue) -> dict[str, Any]:
    return {
        "severity": content.severity(issue).value,
        "title": KINDS[issue].title,
        "count": len(content.by_issue[issue]),
        "is_widespread": content.is_widespread(issue),
    }


def _finding(finding: Finding) -> dict[str, Any]:
    return {
        "issue": finding.issue.value,
        "label": finding.image.label,
        "split": finding.image.split,
        "detail": finding.detail,
    }


def _property(content: ReportContent, index: int) -> dict[str, Any]:
    measured = PROPERTIES[index]
    histogram = content.summary.histogram(measured.name)
    return {
        "name": measured.name,
        "low": measured.low,
        "high": measured.high,
        "is_logarithm_of_2": measured.is_logarithmic,
        "counts": np.asarray(histogram).tolist(),
    }
