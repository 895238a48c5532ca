import pytest

from tests.trainer.submit import cloud_servers
from tests.trainer.submit.cloud_servers import Faults, ScriptedFaults
from trainer.errors import UserError
from trainer.submit import storage


@pytest.fixture
def connect(monkeypatch):
    def connected(address: str):
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", address)
        return storage.connect("p")

    return connected


@pytest.fixture
def package(tmp_path):
    path = tmp_path / "package.tar.gz"
    path.write_bytes(bytes(range(256)) * 2000)
    return path


@pytest.mark.parametrize("script", [(), ("429",), ("503", "reset"), ("reset", "429", "503")])
def test_an_upload_arrives_whole_whatever_goes_wrong_on_the_way(connect, package, script):
    with cloud_servers.storage_server(ScriptedFaults(*script)) as address:
        client = connect(address)
        storage.upload(client, package, "gs://bucket/model/package.tar.gz")
        assert client.bucket("bucket").blob("model/package.tar.gz").download_as_bytes() == package.read_bytes()


def test_after_four_tries_the_error_names_the_address(connect, package):
    with (
        cloud_servers.storage_server(ScriptedFaults(*["503"] * 4)) as address,
        pytest.raises(UserError, match="upload to gs://bucket/x: 4 tries failed"),
    ):
        storage.upload(connect(address), package, "gs://bucket/x")


@pytest.mark.slow
def test_with_five_percent_of_faults_everything_succeeds(connect, package):
    faults = Faults(rate=0.05, seed=3)
    with cloud_servers.storage_server(faults) as address:
        client = connect(address)
        for number in range(100):
            storage.upload(client, package, f"gs://bucket/{number}")
            storage.delete(client, f"gs://bucket/{number}")
            assert storage.read_bytes(client, f"gs://bucket/{number}") is None
    assert faults.num_faults >= 10


def test_reading_and_deleting_what_is_not_there(connect):
    with cloud_servers.storage_server(Faults()) as address:
        client = connect(address)
        assert storage.read_bytes(client, "gs://bucket/nothing") is None
        storage.delete(client, "gs://bucket/nothing")


@pytest.mark.parametrize(
    ("uri", "message"),
    [
        ("gs://no-such-bucket/x", r"upload to gs://no-such-bucket/x: .*; check --project"),
        ("gs://bucket", r"gs://bucket: is no object in Cloud Storage"),
    ],
)
def test_an_upload_to_nowhere_is_refused(connect, package, uri, message):
    with cloud_servers.storage_server(Faults()) as address, pytest.raises(UserError, match=message):
        storage.upload(connect(address), package, uri)
