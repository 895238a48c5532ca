import base64
import hashlib
import html.parser
import re

import pytest

from preprocessing.curation import report_html
from preprocessing.curation.issues import KINDS, Finding, ImageReference, Issue, about_class
from preprocessing.curation.report_content import ReportContent
from tests.preprocessing.curation import contents


class Page(html.parser.HTMLParser):
    """The elements of a page, and its text."""

    def __init__(self, page: str):
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.texts.append(data)

    def attributes(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


def make(content: ReportContent) -> str:
    return report_html.to_html(content, lambda path: contents.PIXEL_URI)


def test_hostile_strings_make_no_element_and_no_attribute():
    """The page has the elements, and they have the attributes, of one with harmless strings in their places."""
    harmless = tuple(f"name {index}" for index in range(len(contents.HOSTILE)))
    pages = [Page(make(contents.content_of_strings(strings))) for strings in (contents.HOSTILE, harmless)]
    shapes = [[(tag, list(attributes)) for tag, attributes in page.elements] for page in pages]
    assert shapes[0] == shapes[1]
    assert len(pages[0].attributes("script")) == 1


@pytest.mark.parametrize("hostile", contents.HOSTILE[:22])
def test_hostile_strings_are_shown_as_they_are(hostile):
    finding = Finding(Issue.DARK, ImageReference("/in/a", hostile, hostile, "train"), hostile)
    page = Page(make(contents.content([finding], (hostile, "cat"))))
    assert page.texts.count(hostile) >= 4  # class table, filter, name, label, detail
    assert page.attributes("figure")[0]["data-label"] == hostile


def test_nothing_comes_from_outside():
    page = Page(make(contents.content_of_strings()))
    for tag, attributes in page.elements:
        for name in ("src", "href", "xlink:href", "data", "poster", "background"):
            value = attributes.get(name)
            assert value is None or value.startswith(("data:image/", "#")), (tag, value)
    style = make(contents.content([])).partition("<style>")[2].partition("</style>")[0]
    assert "url(" not in style
    assert "@import" not in style


def test_the_policy_allows_our_script_alone():
    page = make(contents.content_of_strings())
    (policy,) = (each["content"] for each in Page(page).attributes("meta") if "http-equiv" in each)
    script = re.search(r"<script>(.*?)</script>", page, re.DOTALL).group(1)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert policy == f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-{digest}'"
    assert page.index("Content-Security-Policy") < page.index("<title>")


def test_no_control_character_is_left():
    page = make(contents.content_of_strings())
    assert not [character for character in page if not character.isprintable() and character != "\n"]
    page.encode()


@pytest.mark.parametrize(
    ("findings", "verdict"),
    [
        ([], "Nothing suspicious was found."),
        ([contents.pair(Issue.DARK)], "1 thing to look at."),
        ([contents.pair(Issue.DARK), contents.pair(Issue.LABEL_CONFLICTS)], "1 problem to solve"),
    ],
)
def test_the_verdict(findings, verdict):
    assert verdict in Page(make(contents.content(findings))).texts


@pytest.mark.parametrize("issue", Issue)
def test_every_issue_has_a_section(issue):
    page = make(contents.content([contents.pair(issue)]))
    assert f"<section id={issue} data-issue={issue}>" in page
    assert KINDS[issue].title in Page(page).texts


def test_the_page_stays_small_whatever_is_found():
    findings = [contents.pair(issue, f"{index}.jpg") for issue in Issue for index in range(100)]
    page = Page(make(contents.content(findings)))
    assert len(page.attributes("figure")) == 24 * len(Issue)
    assert "100 found; all are in issues.csv" in page.texts


def test_examples_come_from_every_class():
    findings = [contents.pair(Issue.DARK, f"{index}.jpg", "cat") for index in range(100)]
    findings += [contents.pair(Issue.DARK, "rare.jpg", "dog")._replace(score=0.1)]
    labels = {each["data-label"] for each in Page(make(contents.content(findings))).attributes("figure")}
    assert labels == {"cat", "dog"}


def test_a_pair_is_shown_once():
    one = contents.pair(Issue.SIMILAR_LABEL_CONFLICTS)
    other = one._replace(image=one.partner, partner=one.image)
    page = Page(make(contents.content([one, other])))
    assert len(page.attributes("figure")) == 1
    assert len(page.attributes("img")) == 2


def test_images_that_cannot_be_shown_are_named():
    page = report_html.to_html(contents.content([contents.pair(Issue.DARK)]), lambda path: "")
    assert not Page(page).attributes("img")
    assert "a.jpg" in Page(page).texts


def test_filters_offer_what_is_there():
    findings = [contents.pair(Issue.DARK), about_class(Issue.CLASS_IMBALANCE, "dog", "few")]
    values = [each["value"] for each in Page(make(contents.content(findings))).attributes("option")]
    assert values == ["", "dark", "class_imbalance", "", "cat", "dog", "", "train", "test"]


def test_a_narrow_window_has_rules_of_its_own_for_the_issues():
    page = make(contents.content_of_strings(("a",) * len(contents.HOSTILE)))
    assert "<table class=issues>" in page
    assert ".issues tr { display: grid;" in page.partition("@media (max-width:")[2]
