import csv
import io

import pytest

from preprocessing.curation import issues_csv
from preprocessing.curation.issues import Issue, about_class
from tests.preprocessing.curation import contents


def read(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text, newline="")))


def test_one_line_for_each_finding_the_worst_issues_first():
    findings = [
        contents.pair(Issue.DARK, "b.jpg"),
        contents.pair(Issue.DARK, "a.jpg"),
        about_class(Issue.CLASS_IMBALANCE, "dog", "2 images"),
        contents.pair(Issue.LABEL_CONFLICTS, "c.jpg"),
    ]
    rows = read(issues_csv.to_csv(contents.content(findings)))
    assert [(row["issue"], row["name"]) for row in rows] == [
        ("label_conflicts", "c.jpg"),
        ("dark", "a.jpg"),
        ("dark", "b.jpg"),
        ("class_imbalance", ""),
    ]
    assert rows[0] == {
        "issue": "label_conflicts",
        "severity": "error",
        "name": "c.jpg",
        "label": "cat",
        "split": "train",
        "partner": "copy of c.jpg",
        "partner_label": "cat",
        "detail": "like c.jpg",
    }


def test_without_findings_there_is_a_header():
    assert issues_csv.to_csv(contents.content([])) == ",".join(issues_csv.COLUMNS) + "\r\n"


def test_no_cell_is_a_formula():
    text = issues_csv.to_csv(contents.content_of_strings())
    cells = [cell for row in csv.reader(io.StringIO(text, newline="")) for cell in row]
    assert len(cells) == (1 + 2 * len(contents.HOSTILE)) * len(issues_csv.COLUMNS)
    assert not [cell for cell in cells if cell.startswith(("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d"))]


@pytest.mark.parametrize("name", ['comma, and "quotes"', "line\nbreak", "cr\r\nlf", "'quoted'", "ümläut 画像"])
def test_names_survive(name):
    (row,) = read(issues_csv.to_csv(contents.content([contents.pair(Issue.DARK, name)])))
    assert row["name"] == name


def test_every_text_can_be_encoded():
    assert "broken \\udc80 name" in issues_csv.to_csv(contents.content_of_strings()).encode().decode()


def test_a_pair_has_one_line_and_a_row_that_is_there_three_times_two():
    one = contents.pair(Issue.LABEL_CONFLICTS)
    mirrored = one._replace(image=one.partner, partner=one.image)
    again = one._replace(issue=Issue.EXACT_DUPLICATES, partner=one.image)
    rows = read(issues_csv.to_csv(contents.content([one, mirrored, again, again])))
    assert [row["issue"] for row in rows] == ["label_conflicts", "exact_duplicates", "exact_duplicates"]
