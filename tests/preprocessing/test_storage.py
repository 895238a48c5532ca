import os

import pytest

from preprocessing import storage


@pytest.fixture
def place():
    return storage.LocalStorage()


def test_files_are_listed_in_order_and_links_to_folders_not_entered(place, tmp_path):
    for name in ("b/2", "b/10", "a/c/1", "d"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "a" / "loop").symlink_to(tmp_path)
    assert list(place.list_files(str(tmp_path))) == [
        str(tmp_path / name) for name in ("d", "a/loop", "a/c/1", "b/10", "b/2")
    ]
    assert place.list_folders(str(tmp_path)) == ["a", "b"]
    assert place.list_own_files(str(tmp_path)) == ["d"]


def test_reading_is_limited_and_never_waits(place, tmp_path):
    (tmp_path / "file").write_bytes(b"content")
    os.mkfifo(tmp_path / "pipe")
    assert place.read_bytes(str(tmp_path / "file"), 7) == b"content"
    with pytest.raises(storage.TooManyBytesError):
        place.read_bytes(str(tmp_path / "file"), 6)
    for name in (".", "pipe"):
        with pytest.raises((storage.NotAFileError, IsADirectoryError)):
            place.read_bytes(str(tmp_path / name), 7)
    with pytest.raises(storage.NotAFileError):
        place.read_bytes("/dev/zero", 7)


def test_a_file_appears_whole_or_not_at_all(place, tmp_path):
    target = tmp_path / "file"
    with place.create(str(target)) as file:
        file.write(b"half")
        assert not target.exists()
    assert target.read_bytes() == b"half"
    with pytest.raises(RuntimeError), place.create(str(target)) as file:
        file.write(b"other")
        raise RuntimeError
    assert target.read_bytes() == b"half"
    assert os.listdir(tmp_path) == ["file"]


def test_remove_takes_a_link_and_not_what_it_leads_to(place, tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "precious").touch()
    (tmp_path / "link").symlink_to(tmp_path / "folder")
    place.remove(str(tmp_path / "link"))
    place.remove(str(tmp_path / "missing"))
    assert os.listdir(tmp_path) == ["folder"]
    place.remove(str(tmp_path / "folder"))
    assert os.listdir(tmp_path) == []


def test_join():
    assert storage.join("/a", "b") == "/a/b"
    assert storage.join("gs://bucket", "b") == "gs://bucket/b"
    assert storage.join("gs://bucket/a/", "") == "gs://bucket/a/"


def test_remote_places_are_told_by_their_scheme():
    assert storage.is_remote("gs://bucket/a")
    assert not storage.is_remote("/gs:/a")
    assert isinstance(storage.of("/a"), storage.LocalStorage)
