"""`report.html`: the report as one page that needs nothing else, and that trusts nothing in it.

Labels and file names are hostile input: everything that comes from the dataset goes through `text`. The page allows no
source but pictures within itself, its style, and its one script, known by its hash.
"""

import base64
import collections
import hashlib
import html
import pathlib
from collections.abc import Callable, Iterable, Sequence

from preprocessing.curation import charts, report_content
from preprocessing.curation.dataset_summary import PROPERTIES
from preprocessing.curation.issues import KINDS, Finding, ImageReference, Issue, Severity
from preprocessing.curation.report_content import ReportContent
from preprocessing.errors import one_line

_EXAMPLES_PER_ISSUE = 24
_MAX_CLASSES_SHOWN = 1_000
_MAX_TEXT_LENGTH = 300

LoadThumbnail = Callable[[str], str]


def to_html(content: ReportContent, load_thumbnail: LoadThumbnail) -> str:
    """Returns the page; `load_thumbnail` gives the data URI of the image at a path, "" where it cannot be had."""
    style, script = _resource("report.css"), _resource("report.js")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-{digest}'"
    sections = [
        _tiles(content),
        _overview(content),
        _classes(content),
        _filters(content),
        *(_issue(content, issue, load_thumbnail) for issue in content.by_issue),
        _properties(content),
    ]
    return "\n".join(
        [
            '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">',
            f'<meta http-equiv="Content-Security-Policy" content="{policy}">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f"<title>{text(content.title)}: dataset report</title>\n<style>\n{style}</style>\n</head>\n<body>",
            _header(content),
            "<main>",
            *sections,
            "</main>",
            _footer(content),
            f"<script>{script}</script>\n</body>\n</html>\n",
        ]
    )


def text(value: str) -> str:
    """Returns a string of the dataset as HTML text or attribute value, without control characters."""
    shortened = value if len(value) <= _MAX_TEXT_LENGTH else f"{value[:_MAX_TEXT_LENGTH]}..."
    return html.escape(one_line(shortened), quote=True)


def _header(content: ReportContent) -> str:
    return f"<header>\n<h1>{text(content.title)}</h1>\n<p class=verdict>{_verdict(content)}</p>\n</header>"


def _verdict(content: ReportContent) -> str:
    num_errors, num_warnings = (content.num_issues(each) for each in (Severity.ERROR, Severity.WARNING))
    if num_errors:
        problems = "problem" if num_errors == 1 else "problems"
        return f"<b class=error>{num_errors} {problems} to solve</b> before a model is trained on these images."
    if num_warnings:
        things = "thing" if num_warnings == 1 else "things"
        return f"Nothing is broken. <b class=warning>{num_warnings} {things} to look at.</b>"
    return "<b class=good>Nothing suspicious was found.</b>"


def _tiles(content: ReportContent) -> str:
    rows = content.rows
    tiles = [
        (rows.rows_in, "rows in the input"),
        (rows.written, "images written"),
        (rows.quarantined, "quarantined"),
        (rows.dropped, "dropped on request"),
        (len(content.class_names), "classes"),
        (len(content.by_issue), "kinds of issues"),
    ]
    return "<div class=tiles>" + "".join(_tile(number, what) for number, what in tiles) + "</div>"


def _tile(number: int, what: str) -> str:
    return f"<div class=tile><b>{number:,}</b><span>{what}</span></div>"


def _overview(content: ReportContent) -> str:
    if not content.by_issue:
        return ""
    rows = "\n".join(_overview_row(content, issue) for issue in content.by_issue)
    head = "<tr><th></th><th>Issue</th><th class=number>Found</th><th></th><th>What it means</th></tr>"
    return f"<section>\n<h2>What was found</h2>\n<table class=issues>{head}\n{rows}\n</table>\n</section>"


def _overview_row(content: ReportContent, issue: Issue) -> str:
    number = len(content.by_issue[issue])
    share = min(number, content.rows.rows_in)
    bar = charts.stacked_bar([("share", share), ("rest", content.rows.rows_in - share)])
    is_about_images = bool(content.by_issue[issue][0].image.name)
    meaning = KINDS[issue].meaning
    if content.is_widespread(issue):
        meaning += " Found in most images: a trait of this dataset."
    return (
        f"<tr><td>{_badge(content, issue)}</td><td class=title><a href='#{issue}'>{KINDS[issue].title}</a></td>"
        f"<td class=number>{number:,}</td><td>{bar if is_about_images else ''}</td><td class=soft>{meaning}</td></tr>"
    )


def _badge(content: ReportContent, issue: Issue) -> str:
    severity = content.severity(issue)
    return f"<span class='badge {severity}'>{severity}</span>"


def _classes(content: ReportContent) -> str:
    splits = content.splits
    labels = content.class_names[:_MAX_CLASSES_SHOWN]
    sizes = {label: sum(content.summary.counts[label, split] for split in splits) for label in labels}
    largest = max(1, *sizes.values(), 1)
    rows = "\n".join(_class_row(content, label, largest) for label in labels)
    numbers = "".join(f"<th class=number>{split}</th>" for split in splits)
    head = f"<thead><tr><th>Class</th>{numbers}<th class=number>all</th><th></th><th>Issues</th></tr></thead>"
    legend = "".join(f"<span><i class={split}></i>{split}</span>" for split in splits)
    hidden = len(content.class_names) - len(labels)
    more = f"<p class=soft>{hidden:,} classes more are in report.json.</p>" if hidden else ""
    return (
        f"<section>\n<h2>Classes <span class='count legend'>{legend}</span></h2>\n"
        f"<div class=scroll><table>{head}\n<tbody>\n{rows}\n</tbody></table></div>{more}\n</section>"
    )


def _class_row(content: ReportContent, label: str, largest: int) -> str:
    counts = [(split, content.summary.counts[label, split]) for split in content.splits]
    total = sum(count for _, count in counts)
    numbers = "".join(f"<td class=number>{count:,}</td>" for _, count in counts)
    bar = charts.stacked_bar([*counts, ("rest", largest - total)])
    issues = content.class_issues.get(label, collections.Counter())
    shown = " · ".join(f"{KINDS[issue].title} {issues[issue]:,}" for issue in content.by_issue if issue in issues)
    return (
        f"<tr><td class=label>{text(label)}</td>{numbers}<td class=number>{total:,}</td>"
        f"<td>{bar}</td><td class=soft>{shown}</td></tr>"
    )


def _filters(content: ReportContent) -> str:
    if not content.by_issue:
        return ""
    labels = sorted({each for findings in content.by_issue.values() for each in _labels(_shown(findings))})
    choices = [
        _choice("issue", "Issue", [(issue.value, KINDS[issue].title) for issue in content.by_issue]),
        _choice("label", "Class", [(label, label) for label in labels]),
        _choice("split", "Split", [(split, split) for split in content.splits]),
    ]
    return f"<section class=filters>{''.join(choices)}<output></output></section>"


def _choice(name: str, title: str, options: Iterable[tuple[str, str]]) -> str:
    listed = "".join(f'<option value="{text(value)}">{text(shown)}</option>' for value, shown in options)
    return f'<label>{title}<select name={name}><option value="">all</option>{listed}</select></label>'


def _shown(findings: Sequence[Finding]) -> list[Finding]:
    return report_content.examples(findings, _EXAMPLES_PER_ISSUE)


def _labels(findings: Iterable[Finding]) -> set[str]:
    references = [reference for each in findings for reference in (each.image, each.partner) if reference]
    return {reference.label for reference in references if reference.label}


def _issue(content: ReportContent, issue: Issue, load_thumbnail: LoadThumbnail) -> str:
    findings = content.by_issue[issue]
    shown = _shown(findings)
    are_images = bool(shown[0].image.path)
    examples = "\n".join(_card(each, load_thumbnail) if are_images else _line(each) for each in shown)
    element, css_class = ("div", "cards pairs" if shown[0].partner else "cards") if are_images else ("ul", "plain")
    count = f"{len(findings):,} found" + ("; all are in issues.csv" if len(shown) == _EXAMPLES_PER_ISSUE else "")
    return (
        f"<section id={issue} data-issue={issue}>\n"
        f"<h2>{_badge(content, issue)} {KINDS[issue].title} <span class=count>{count}</span></h2>\n"
        f"<p class=soft>{KINDS[issue].meaning}</p>\n"
        f"<{element} class='{css_class}'>\n{examples}\n</{element}>\n</section>"
    )


def _card(finding: Finding, load_thumbnail: LoadThumbnail) -> str:
    references = [reference for reference in (finding.image, finding.partner) if reference]
    pictures = "".join(_picture(load_thumbnail(reference.path)) for reference in references)
    names = "".join(_name(reference) for reference in references)
    return (
        f"<figure {_filter_data(finding)}><div class=pictures>{pictures}</div><figcaption>"
        f"<div class=names>{names}</div><div class=detail>{text(finding.detail)}</div></figcaption></figure>"
    )


def _picture(uri: str) -> str:
    content = f'<img src="{html.escape(uri)}" alt="">' if uri else "<span>no picture</span>"
    return f"<div class=picture>{content}</div>"


def _name(reference: ImageReference) -> str:
    split = f" · {text(reference.split)}" if reference.split else ""
    return f"<div><b>{text(reference.label)}</b>{split}<span class=name>{text(reference.name)}</span></div>"


def _line(finding: Finding) -> str:
    what = finding.image.name or finding.image.label or finding.image.split
    return f"<li {_filter_data(finding)}><b>{text(what)}</b> {text(finding.detail)}</li>"


def _filter_data(finding: Finding) -> str:
    references = [reference for reference in (finding.image, finding.partner) if reference]
    # Line breaks separate values: `text` leaves none within a value.
    labels, splits = (
        "&#10;".join(dict.fromkeys(text(value) for value in values))
        for values in ([each.label for each in references], [each.split for each in references])
    )
    return f'data-issue="{finding.issue}" data-label="{labels}" data-split="{splits}"'


def _properties(content: ReportContent) -> str:
    charted = "\n".join(
        f"<div><h3>{measured.title}</h3>"
        f"{charts.histogram(measured, content.summary.histogram(measured.name).tolist())}</div>"
        for measured in PROPERTIES
    )
    head = "<h2>Properties</h2>\n<p class=soft>Of all images that could be read.</p>"
    return f"<section>\n{head}\n<div class=charts>\n{charted}\n</div>\n</section>"


def _footer(content: ReportContent) -> str:
    search = content.near_duplicates
    raised = ""
    if search.used_correlation > search.asked_correlation:
        raised = f" (raised from {search.asked_correlation:g}, as the images of this dataset look alike)"
    refused = ""
    if search.num_refused_links:
        refused = f" {search.num_refused_links:,} links were refused: their groups would have become too large."
    return (
        f"<footer>\n<p>Near-duplicates are images whose 64-bit hashes differ in at most {search.max_distance} bits and "
        f"whose 8x8 thumbnails correlate by at least {search.used_correlation:g}{raised}. "
        f"Flips, rotations and strong crops are not found.{refused}</p>\n"
        "<p>All findings: <code>issues.csv</code>. Numbers and thresholds: <code>report.json</code>.</p>\n</footer>"
    )


def _resource(name: str) -> str:
    return pathlib.Path(__file__).with_name(name).read_text(encoding="utf-8")
