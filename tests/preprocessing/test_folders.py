import mimetypes
import os

import pytest

from preprocessing import folders
from preprocessing.errors import UserError
from preprocessing.quarantine import QuarantinedRow
from preprocessing.rows import Row


@pytest.fixture
def root(tmp_path):
    for name in ("dog/a.jpg", "cat/b.jpg", "cat/kittens/c.jpg"):
        path = tmp_path / "photos" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    return tmp_path / "photos"


def rows(root, labels=None, allowed_prefixes=()):
    source = folders.open_folder(str(root), labels, allowed_prefixes)
    return [row for unit in source.units for row in source.read(unit)]


def test_one_row_for_each_file_and_below(root):
    assert rows(root) == [
        Row(str(root / "cat/b.jpg"), "cat/b.jpg", "cat", ""),
        Row(str(root / "cat/kittens/c.jpg"), "cat/kittens/c.jpg", "cat", ""),
        Row(str(root / "dog/a.jpg"), "dog/a.jpg", "dog", ""),
    ]


def test_folders_named_after_splits(root, tmp_path):
    (tmp_path / "all").mkdir()
    os.rename(root, tmp_path / "all" / "Training")
    (tmp_path / "all" / "test" / "cat").mkdir(parents=True)
    (tmp_path / "all" / "test" / "cat" / "d.jpg").touch()
    source = folders.open_folder(str(tmp_path / "all"), None, ())
    assert source.has_splits
    assert source.class_names == ("cat", "dog")
    assert {(row.name, row.split) for unit in source.units for row in source.read(unit)} == {
        ("Training/cat/b.jpg", "train"),
        ("Training/cat/kittens/c.jpg", "train"),
        ("Training/dog/a.jpg", "train"),
        ("test/cat/d.jpg", "test"),
    }


def test_a_class_called_test_is_a_class_when_others_are_no_splits(root):
    (root / "test").mkdir()
    (root / "test" / "e.jpg").touch()
    source = folders.open_folder(str(root), None, ())
    assert source.class_names == ("cat", "dog", "test")
    assert not source.has_splits


def test_two_spellings_of_one_class_are_a_mistake(root):
    for name in ("M\u00f6we", "Mo\u0308we"):
        (root / name).mkdir()
        (root / name / "a.jpg").touch()
    with pytest.raises(UserError, match="photos: two classes are called M\u00f6we, spelt in two"):
        rows(root)


def test_an_empty_class_is_a_mistake(root):
    (root / "bird").mkdir()
    (root / "bird" / ".hidden").touch()
    with pytest.raises(UserError, match="bird: the class folder is empty; add images or remove the folder"):
        rows(root)


def test_images_without_class_folders_are_a_mistake(root):
    with pytest.raises(UserError, match="holds no folders"):
        rows(root / "dog")


def test_images_beside_the_class_folders_are_quarantined_and_other_files_are_not_rows(root):
    for name in ("loose.JPG", "README.txt", ".hidden.jpg"):
        (root / name).touch()
    found = [row for row in rows(root) if isinstance(row, QuarantinedRow)]
    assert found == [QuarantinedRow("loose.JPG", "source", "no_label", "in no class folder")]


def test_which_files_are_images_does_not_depend_on_the_machine(root, monkeypatch):
    monkeypatch.setattr(mimetypes, "guess_type", mimetypes.MimeTypes().guess_type)  # one without /etc/mime.types
    names = ["a.webp", "b.jfif", "c.tiff", "d.avif"]
    for name in names:
        (root / name).touch()
    assert [row.path for row in rows(root) if isinstance(row, QuarantinedRow)] == names


def test_images_beside_split_or_class_folders_are_quarantined(root, tmp_path):
    (tmp_path / "all").mkdir()
    os.rename(root, tmp_path / "all" / "train")
    for place in ("all", "all/train"):
        (tmp_path / place / "loose.png").touch()
    found = [row.path for row in rows(tmp_path / "all") if isinstance(row, QuarantinedRow)]
    assert found == ["loose.png", "train/loose.png"]


def test_links_to_files_outside_are_quarantined(root, tmp_path):
    (tmp_path / "outside.jpg").touch()
    (root / "cat" / "link.jpg").symlink_to(tmp_path / "outside.jpg")
    (root / "cat" / "inner.jpg").symlink_to(root / "dog" / "a.jpg")
    found = {row[1] if isinstance(row, Row) else row.path: row for row in rows(root)}
    assert isinstance(found["cat/link.jpg"], QuarantinedRow)
    assert found["cat/link.jpg"].reason == "path_not_allowed"
    assert found["cat/inner.jpg"].path == str(root / "dog" / "a.jpg")
    assert all(isinstance(row, Row) for row in rows(root, allowed_prefixes=(str(tmp_path),)))


def test_a_class_folder_that_leads_outside_is_a_mistake(root, tmp_path):
    (tmp_path / "birds").mkdir()
    (tmp_path / "birds" / "f.jpg").touch()
    (root / "bird").symlink_to(tmp_path / "birds")
    with pytest.raises(UserError, match="--allow_prefix"):
        rows(root)
    assert len(rows(root, allowed_prefixes=(str(tmp_path / "birds"),))) == 4


def test_a_link_to_a_folder_above_does_not_go_round_for_ever(root):
    (root / "cat" / "loop").symlink_to(root)
    assert len(rows(root)) == 4


def test_names_that_hide_something_are_quarantined(root):
    (root / "cat" / "a\nb.jpg").touch()
    with open(os.fsencode(root / "cat") + b"/\xff.jpg", "wb"):
        pass
    bad = [row for row in rows(root) if isinstance(row, QuarantinedRow)]
    assert [row.reason for row in bad] == ["path_malformed", "path_malformed"]
    assert all(row.to_json().isprintable() for row in bad)


def test_a_class_folder_whose_name_hides_something_is_a_mistake(root):
    (root / "bi\nrd").mkdir()
    (root / "bi\nrd" / "g.jpg").touch()
    with pytest.raises(UserError, match="rename it"):
        rows(root)
