"""The program of a bare container, run as the container does: its text alone, in a process of its own."""

import http.server
import json
import os
import pathlib
import subprocess
import sys

import pytest

from tests.trainer.submit import cloud_servers
from tests.trainer.submit.cloud_servers import Faults, ScriptedFaults
from trainer.submit import bootstrap, container, storage


def test_a_package_arrives_whole_through_faults(tmp_path, monkeypatch):
    monkeypatch.setattr(bootstrap.time, "sleep", lambda secs: None)
    package = tmp_path / "package.tar.gz"
    package.write_bytes(bytes(range(256)) * 1000)
    with cloud_servers.storage_server(ScriptedFaults("", "503", "reset", "429")) as address:
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", address)
        storage.upload(storage.connect("p"), package, "gs://bucket/a b/package.tar.gz")
        (tmp_path / "fetched").mkdir()
        fetched = bootstrap.fetch("gs://bucket/a b/package.tar.gz", str(tmp_path / "fetched"))
    assert fetched.endswith("/package.tar.gz")
    assert pathlib.Path(fetched).read_bytes() == package.read_bytes()


def test_the_fifth_try_is_not_made(monkeypatch):
    monkeypatch.setattr(bootstrap.time, "sleep", lambda secs: None)
    faults = ScriptedFaults(*["503"] * 9)
    with cloud_servers.storage_server(faults) as address:
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", address)
        with pytest.raises(OSError, match="503"):
            bootstrap.fetch("gs://bucket/x", "/nowhere")
    assert faults.num_calls == 4


def test_a_missing_package_is_not_asked_for_again(monkeypatch):
    faults = Faults()
    with cloud_servers.storage_server(faults) as address:
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", address)
        with pytest.raises(OSError, match="404"):
            bootstrap.fetch("gs://bucket/nothing", "/nowhere")
    assert faults.num_calls == 1


def test_the_token_is_that_of_the_machine(monkeypatch):
    class Metadata(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            is_right = self.path.endswith("/token") and self.headers["Metadata-Flavor"] == "Google"
            self.send_response(200 if is_right else 404)
            self.end_headers()
            self.wfile.write(json.dumps({"access_token": "secret", "expires_in": 1}).encode())

        def log_message(self, *arguments: object) -> None:
            del arguments

    with cloud_servers.http_server(Metadata) as address:
        monkeypatch.setenv("GCE_METADATA_HOST", address.removeprefix("http://"))
        assert bootstrap.access_token() == "secret"


def test_the_program_installs_and_becomes_the_trainer(tmp_path):
    """pip and the trainer are stood in for by modules that tell how they were called."""
    for name, text in {
        "pip/__main__.py": "import sys; print('pip', sys.argv[1:], flush=True)",
        "trainer/task.py": "import sys; print('trainer', sys.argv[1:]); sys.exit(7)",
    }.items():
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_text(text)
        (tmp_path / name).with_name("__init__.py").touch()
    package = tmp_path / "tpu_images-0.1.0.tar.gz"
    package.write_bytes(b"package")
    with cloud_servers.storage_server(Faults()) as address:
        environment = os.environ | {"STORAGE_EMULATOR_HOST": address, "PYTHONPATH": str(tmp_path)}
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("STORAGE_EMULATOR_HOST", address)
            storage.upload(storage.connect("p"), package, "gs://bucket/tpu_images-0.1.0.tar.gz")
        run = container.from_package("gs://bucket/tpu_images-0.1.0.tar.gz", "tpu", ["train", "gs://bucket/data"])
        command = [sys.executable, *run.command[1:], *run.arguments]
        finished = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, check=False)
    pip_line, trainer_line = finished.stdout.splitlines()
    assert pip_line.startswith("pip ['install', '--no-cache-dir', ")
    assert pip_line.endswith("/tpu_images-0.1.0.tar.gz[tpu,gcp]']")
    assert trainer_line == "trainer ['train', 'gs://bucket/data']"
    assert finished.returncode == 7
