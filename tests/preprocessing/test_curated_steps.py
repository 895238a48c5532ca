"""Conversions that curate, on the real runner."""

import csv
import json
import shutil

import pytest

from preprocessing import schema
from preprocessing.errors import UserError
from tests.preprocessing import pictures

pytestmark = pytest.mark.slow


@pytest.fixture
def flawed(photos):
    """Forty different pictures, a copy in the same class, a copy under another label, and a broken file."""
    for path in sorted(photos.glob("*/*.jpg")):
        seed = int(path.stem) + (100 if path.parent.name == "dog" else 0)
        path.write_bytes(pictures.jpeg(seed, size=(120, 90)))
    shutil.copy(photos / "cat" / "000.jpg", photos / "cat" / "copy.jpg")
    shutil.copy(photos / "cat" / "001.jpg", photos / "dog" / "other label.jpg")
    (photos / "dog" / "broken.jpg").write_bytes((photos / "dog" / "000.jpg").read_bytes()[:500])
    return photos


def test_a_report_lies_in_the_dataset(convert, flawed):
    dataset = convert(flawed, "--curate", "--max_bad_fraction=0.1")
    counts = dataset.info.counts
    assert (counts.rows_in, counts.written, counts.quarantined, counts.dropped) == (43, 42, 1, 0)
    assert "other label.jpg" in (dataset.folder / schema.REPORT_HTML_FILE).read_text()
    assert json.loads((dataset.folder / schema.REPORT_JSON_FILE).read_text())
    with open(dataset.folder / schema.ISSUES_CSV_FILE, newline="") as file:
        text = "\n".join(",".join(row) for row in csv.reader(file))
    for issue in ("exact_duplicates", "label_conflicts", "truncated"):
        assert issue in text
    splits = dataset.split_of_each_image()
    assert splits["cat/000.jpg"] == splits["cat/copy.jpg"]
    assert splits["cat/001.jpg"] == splits["dog/other label.jpg"]


def test_what_is_dropped_is_counted_and_listed(convert, flawed):
    dataset = convert(flawed, "--drop=exact_duplicates,label_conflicts", "--max_bad_fraction=0.1")
    counts = dataset.info.counts
    assert (counts.rows_in, counts.written, counts.quarantined, counts.dropped) == (43, 39, 1, 3)
    dropped = {(line["path"], line["reason"]) for line in dataset.lines(schema.CHANGES_FILE)}
    assert {("cat/001.jpg", "label_conflicts"), ("dog/other label.jpg", "label_conflicts")} <= dropped
    assert len({path for path, _ in dropped} & {"cat/000.jpg", "cat/copy.jpg"}) == 1
    written = dataset.split_of_each_image()
    assert not {path for path, _ in dropped} & written.keys()
    assert dataset.info.options["curation"]["drop"] == ["exact_duplicates", "label_conflicts"]


def test_a_dataset_without_images_is_none(convert, tmp_path):
    for name in ("cat", "dog"):
        (tmp_path / "photos" / name).mkdir(parents=True)
        (tmp_path / "photos" / name / "the same.jpg").write_bytes(pictures.jpeg(0))
    with pytest.raises(UserError, match="--drop leaves no image; drop fewer issues"):
        convert(tmp_path / "photos", "--drop=label_conflicts")
    assert not (tmp_path / "dataset").exists()


def test_the_same_command_again_finds_the_dataset(convert, flawed, capsys):
    convert(flawed, "--curate", "--max_bad_fraction=0.1")
    convert(flawed, "--curate", "--max_bad_fraction=0.1")
    assert "already there" in capsys.readouterr().out


def test_curating_alone_changes_no_shard_of_different_pictures(convert, photos):
    for index, path in enumerate(sorted(photos.glob("*/*.jpg"))):
        path.write_bytes(pictures.jpeg(index, size=(120, 90)))
    plain = convert(photos, output="plain")
    curated = convert(photos, "--curate", output="curated")
    assert plain.info.fingerprint == curated.info.fingerprint
