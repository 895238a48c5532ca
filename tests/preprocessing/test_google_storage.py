"""Google Cloud Storage, through the official client and an emulated service."""

import http.server

import pytest

from preprocessing import google_storage, inspect, output, reading, schema, storage, task
from preprocessing.errors import UserError
from preprocessing.quarantine import Reason, RejectedError
from tests.google_storage import emulator
from tests.preprocessing import pictures
from tests.trainer.submit import cloud_servers


@pytest.fixture
def bucket(monkeypatch):
    """An empty bucket in a service of its own; returns `gs://photos`."""
    with emulator.serve("photos") as port:
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", f"http://127.0.0.1:{port}")
        google_storage._client.cache_clear()
        yield "gs://photos"
        google_storage._client.cache_clear()


@pytest.fixture
def place(bucket):
    return google_storage.GoogleStorage()


def write(path: str, data: bytes) -> None:
    with storage.of(path).create(path) as file:
        file.write(data)


def test_objects_are_written_and_read(bucket, place):
    write(f"{bucket}/a/b.bin", b"content")
    assert place.read_bytes(f"{bucket}/a/b.bin", 7) == b"content"
    assert place.num_bytes(f"{bucket}/a/b.bin") == 7
    assert storage.read_text(f"{bucket}/a/b.bin") == "content"
    with place.open_binary(f"{bucket}/a/b.bin") as file:
        assert file.read(3) == b"con"


def test_errors_are_those_of_the_standard_library(bucket, place):
    write(f"{bucket}/a.bin", b"content")
    with pytest.raises(FileNotFoundError):
        place.read_bytes(f"{bucket}/missing.bin", 7)
    with pytest.raises(storage.TooManyBytesError):
        place.read_bytes(f"{bucket}/a.bin", 6)
    with pytest.raises(FileNotFoundError):
        place.num_bytes(f"{bucket}/missing.bin")
    with pytest.raises(FileNotFoundError), place.open_text(f"{bucket}/missing.txt") as file:
        file.read()


def test_folders_are_prefixes(bucket, place):
    for name in ("in/cat/a.jpg", "in/cat/b/c.jpg", "in/dog/d.jpg", "in/e.jpg", "inner/f.jpg"):
        write(f"{bucket}/{name}", b"x")
    assert place.list_folders(f"{bucket}/in") == ["cat", "dog"]
    assert place.list_own_files(f"{bucket}/in") == ["e.jpg"]
    assert sorted(place.list_files(f"{bucket}/in/cat")) == [f"{bucket}/in/cat/a.jpg", f"{bucket}/in/cat/b/c.jpg"]
    assert place.is_folder(f"{bucket}/in")
    assert not place.is_folder(f"{bucket}/i")
    assert place.exists(f"{bucket}/in/e.jpg")
    assert not place.exists(f"{bucket}/missing")
    assert not place.exists("gs://no-such-bucket/a")


def test_a_failed_write_leaves_nothing(bucket, place):
    with pytest.raises(RuntimeError), place.create(f"{bucket}/a.bin") as file:
        file.write(b"half")
        raise RuntimeError
    assert not place.exists(f"{bucket}/a.bin")


def test_remove_takes_a_folder_and_not_its_neighbour(bucket, place):
    for name in ("a/1", "a/b/2", "ab/3"):
        write(f"{bucket}/{name}", b"x")
    place.remove(f"{bucket}/a")
    assert list(place.list_files(f"{bucket}/")) == [f"{bucket}/ab/3"]
    place.remove(f"{bucket}/missing")


def convert(*arguments: str) -> int:
    return task.main([*arguments, "--max_bad_fraction=0.5"])


@pytest.fixture
def remote_photos(bucket):
    for index in range(12):
        write(f"{bucket}/in/{'cat' if index % 2 else 'dog'}/{index}.jpg", pictures.jpeg(index))
    return f"{bucket}/in"


def test_from_a_bucket_to_a_bucket(bucket, place, remote_photos):
    assert convert(remote_photos, f"{bucket}/out") == 0
    info = output.existing_dataset(f"{bucket}/out")
    assert info.counts.written == 12
    assert info.class_names == ("cat", "dog")
    assert output.is_complete(f"{bucket}/out", info)
    names = {path.rpartition("/")[2] for path in place.list_files(f"{bucket}/out")}
    shards = {shard.name for split in info.splits.values() for shard in split.shards}
    assert names == shards | {schema.DATASET_INFO_FILE, schema.QUARANTINE_FILE, schema.CHANGES_FILE}


def test_both_ways_give_the_same_shards(bucket, remote_photos, tmp_path):
    assert convert(remote_photos, str(tmp_path / "dataset")) == 0
    assert convert(remote_photos, f"{bucket}/out") == 0
    local, remote = output.existing_dataset(str(tmp_path / "dataset")), output.existing_dataset(f"{bucket}/out")
    assert local.fingerprint == remote.fingerprint


def test_a_missing_object_is_quarantined(bucket, place, remote_photos):
    write(f"{bucket}/lists/images.csv", f"{bucket}/in/dog/0.jpg,dog\n{bucket}/in/dog/nope.jpg,dog\n".encode())
    assert convert(f"{bucket}/lists/images.csv", f"{bucket}/out") == 0
    assert '"reason": "not_found"' in storage.read_text(f"{bucket}/out/{schema.QUARANTINE_FILE}")


def test_overwriting_replaces_the_dataset_and_clears_what_killed_jobs_left(bucket, place, remote_photos):
    write(f"{bucket}/out/.converting-dead/train-00000-of-00001.tfrecord", b"half")
    write(f"{bucket}/out/train-00007-of-00009.tfrecord", b"of a job that was killed while it published")
    assert convert(remote_photos, f"{bucket}/out") == 0
    before = output.existing_dataset(f"{bucket}/out")
    assert not place.exists(f"{bucket}/out/train-00007-of-00009.tfrecord")
    assert not place.is_folder(f"{bucket}/out/.converting-dead")
    assert convert(remote_photos, f"{bucket}/out", "--num_shards=2", "--overwrite") == 0
    after = output.existing_dataset(f"{bucket}/out")
    assert before.fingerprint != after.fingerprint
    assert output.is_complete(f"{bucket}/out", after)


def test_a_folder_that_is_no_dataset_is_not_touched(bucket, remote_photos):
    with pytest.raises(UserError, match="not a dataset"):
        convert(remote_photos, remote_photos, "--overwrite")


@pytest.mark.slow
def test_a_failed_conversion_leaves_its_list(bucket, place, remote_photos):
    for index in range(30):
        write(f"{remote_photos}/cat/bad{index}.jpg", b"bad")
    with pytest.raises(UserError, match="30 of 42"):
        convert(remote_photos, f"{bucket}/out")
    assert len(storage.read_text(f"{bucket}/out.quarantine.jsonl").splitlines()) == 30
    assert not place.is_folder(f"{bucket}/out")


@pytest.fixture
def failing_service(monkeypatch):
    """A service that answers the first downloads with these statuses, and later ones with b"content"."""
    statuses: list[int] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            status = statuses.pop(0) if statuses and self.path.startswith("/download") else 200
            body = b"content" if status == 200 else b"{}"
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args):
            pass

    with cloud_servers.http_server(Handler) as address:
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", address)
        google_storage._client.cache_clear()
        yield statuses
        google_storage._client.cache_clear()


@pytest.mark.parametrize("status", [429, 500, 503])
def test_passing_failures_are_tried_again(failing_service, status):
    failing_service.append(status)
    assert google_storage.GoogleStorage().read_bytes("gs://photos/a.jpg", 100) == b"content"


@pytest.mark.parametrize(
    ("status", "reason"), [(503, Reason.NOT_READABLE), (403, Reason.NOT_READABLE), (404, Reason.NOT_FOUND)]
)
def test_lasting_failures_reject_the_image(failing_service, monkeypatch, status, reason):
    monkeypatch.setattr(google_storage, "_RETRY", google_storage._RETRY.with_timeout(1.5))
    failing_service.extend([status] * 20)
    with pytest.raises(RejectedError) as caught:
        reading.read_image("gs://photos/a.jpg", 100)
    assert caught.value.reason == reason
    assert status == 503 or len(failing_service) == 19  # nothing is gained by asking again


@pytest.fixture
def forbidden_service(monkeypatch):
    """A service that refuses everything, as a bucket of somebody else does."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(403)
            self.end_headers()
            self.wfile.write(b'{"error": {"message": "no access for you"}}')

        def log_message(self, *args):
            pass

    with cloud_servers.http_server(Handler) as address:
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", address)
        google_storage._client.cache_clear()
        yield
        google_storage._client.cache_clear()


@pytest.mark.parametrize(
    ("command", "words", "where"),
    [
        (task.main, ["gs://other/photos", "dataset"], "gs://other/photos"),
        (task.main, ["{photos}", "gs://other/dataset"], "gs://other/dataset"),
        (task.main, ["{photos}", "gs://other/dataset", "--overwrite"], "gs://other/dataset"),
        (inspect.main, ["gs://other/dataset"], "gs://other/dataset"),
    ],
)
def test_a_bucket_of_somebody_else_is_one_line(forbidden_service, tmp_path, monkeypatch, command, words, where):
    monkeypatch.chdir(tmp_path)
    pictures.write_class_folders(tmp_path / "photos", num_per_class=1)
    with pytest.raises(UserError, match=rf"^{where}: cannot be read \(.*no access for you"):
        command([word.format(photos=tmp_path / "photos") for word in words])
    assert list(tmp_path.iterdir()) == [tmp_path / "photos"]


def test_without_credentials_it_says_how_to_get_some(monkeypatch, tmp_path):
    monkeypatch.delenv("STORAGE_EMULATOR_HOST", raising=False)
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", "")
    monkeypatch.setenv("CLOUDSDK_CONFIG", str(tmp_path))
    monkeypatch.setenv("NO_GCE_CHECK", "true")
    google_storage._client.cache_clear()
    with pytest.raises(UserError, match="found no credentials; run: gcloud auth application-default login"):
        inspect.main(["gs://photos/dataset"])
