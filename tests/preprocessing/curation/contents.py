"""Report contents for the tests: made of findings, without a conversion."""

import dataclasses

from preprocessing.curation.dataset_summary import DatasetSummary
from preprocessing.curation.issues import Finding, ImageReference, Issue, about_class
from preprocessing.curation.report_content import NearDuplicateSearch, ReportContent
from preprocessing.curation.thresholds import DatasetThresholds, QualityThresholds
from preprocessing.dataset_info import RowCounts
from tests.preprocessing import pictures
from tests.preprocessing.curation import photographs

PIXEL_URI = "data:image/gif;base64,R0lGODlhAQABAAAAACw="

# Labels and file names that try to break out of HTML, CSV, or a terminal.
HOSTILE = (
    "<img src=x onerror=alert(1)>",
    "<script>alert(1)</script>",
    "</script><script>alert(1)</script>",
    "</style><script>alert(1)</script>",
    "</title><svg onload=alert(1)>",
    "--><script>alert(1)</script>",
    '"><script>alert(1)</script>',
    "' onmouseover='alert(1)",
    '" onmouseover="alert(1)" x="',
    "` onmouseover=alert(1) `",
    "javascript:alert(1)",
    "<a href='javascript:alert(1)'>x</a>",
    "<iframe srcdoc='<script>alert(1)</script>'>",
    "<meta http-equiv=refresh content=0;url=https://example.com>",
    "<link rel=stylesheet href=//example.com/x.css>",
    "<base href=//example.com/>",
    "<form action=//example.com><button>",
    "&lt;script&gt;alert(1)&lt;/script&gt;",
    "&#60;script&#62;alert(1)&#60;/script&#62;",
    "<!--",
    "]]><script>alert(1)</script>",
    "<math><mtext><script>alert(1)</script>",
    "line\nbreak\r\x00\x1b[31mred",
    "right\u202eto left",
    "broken \udc80 name",
    "=cmd|' /C calc'!A0",
    "+1+1",
    "-2+3",
    "@SUM(A1)",
    "\t=1+1",
    "\r=1+1",
    "comma, quote \" and 'quote'",
    "x" * 4096,
)


def pair(issue: Issue, name: str = "a.jpg", label: str = "cat", split: str = "train") -> Finding:
    """Returns a finding about two images."""
    image = ImageReference(f"/in/{name}", name, label, split)
    return Finding(issue, image, f"like {name}", 0.95, image._replace(name=f"copy of {name}"))


def content(
    findings: list[Finding], class_names: tuple[str, ...] = ("cat", "dog"), title: str = "photos"
) -> ReportContent:
    """Returns a content of two images of each class, and these findings."""
    images = [
        photographs.inspect(pictures.jpeg(seed), f"{seed}.jpg", label)._replace(split=split)
        for seed, label in enumerate(class_names)
        for split in ("train", "test")
    ]
    return ReportContent(
        title=title,
        class_names=class_names,
        rows=RowCounts(len(images) + 2, len(images), 2),
        summary=DatasetSummary().add(images),
        findings=findings,
        near_duplicates=NearDuplicateSearch(10, 0.9, 0.9, 0),
        quality_thresholds=QualityThresholds(),
        dataset_thresholds=DatasetThresholds(),
    )


def content_of_strings(strings: tuple[str, ...] = HOSTILE) -> ReportContent:
    """Returns a content with every one of the strings as title, label, name, split and detail."""
    findings = [
        each._replace(image=ImageReference(text, text, text, text), detail=text)
        for text in strings
        for each in (pair(Issue.LABEL_CONFLICTS), about_class(Issue.CLASS_IMBALANCE, text, text, split=text))
    ]
    whole = content(findings, strings, title=" ".join(strings))
    return dataclasses.replace(whole, rows=RowCounts(1000, 990, 10))
