import json

from preprocessing.curation import report_json
from preprocessing.curation.issues import Issue, about_class
from tests.preprocessing.curation import contents


def test_the_numbers():
    findings = [
        contents.pair(Issue.DARK),
        contents.pair(Issue.DARK, "b.jpg", "dog"),
        about_class(Issue.CLASS_IMBALANCE, "dog", "2 images"),
    ]
    fields = json.loads(report_json.to_json(contents.content(findings)))
    assert fields["schema_version"] == report_json.SCHEMA_VERSION
    assert fields["rows"] == {"rows_in": 6, "written": 4, "quarantined": 2, "dropped": 0}
    assert fields["splits"] == {"train": 2, "test": 2}
    assert fields["classes"]["dog"] == {"images": {"train": 1, "test": 1}, "issues": {"class_imbalance": 1, "dark": 1}}
    assert fields["issues"]["dark"] == {"severity": "warning", "title": "Dark", "count": 2, "is_widespread": False}
    assert fields["dataset_findings"] == [
        {"issue": "class_imbalance", "label": "dog", "split": "", "detail": "2 images"}
    ]
    assert fields["thresholds"]["min_images_per_class"] == 10
    assert all(sum(measured["counts"]) == 4 for measured in fields["properties"])


def test_an_issue_of_most_images_is_a_trait_of_the_dataset():
    findings = [contents.pair(Issue.TOO_SMALL, f"{index}.jpg") for index in range(4)]
    issue = json.loads(report_json.to_json(contents.content(findings)))["issues"]["too_small"]
    assert issue["is_widespread"]
    assert issue["severity"] == "note"


def test_hostile_names_are_json():
    text = report_json.to_json(contents.content_of_strings())
    assert set(json.loads(text)["classes"]) == set(contents.HOSTILE)
    assert text.isascii()
