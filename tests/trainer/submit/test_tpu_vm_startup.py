"""Runs the start-up script as a TPU machine does, against local metadata, storage and TPU services.

Docker's place is taken by a program that runs the container's command as a plain process.
"""

import contextlib
import http.server
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import time

import pytest

from tests.trainer.submit import cloud_servers
from tests.trainer.submit.cloud_servers import Faults
from trainer.submit import catalogue, container, hardware, storage, tpu_vm_request

OPTIONS = tpu_vm_request.TpuVmOptions(
    project="p", zone="us-west4-a", name="flowers", output_dir="gs://bucket/my model", max_hours=2
)
BASH = shutil.which("bash")
SHELLCHECK = shutil.which("shellcheck")
SCRIPT = pathlib.Path(tpu_vm_request.__file__).with_name("tpu_vm_startup.sh")

DOCKER = f"""#!{sys.executable}
import os, pathlib, signal, sys, time
pid_file = pathlib.Path(os.environ["FAKE_DOCKER_PID_FILE"])
failed_kills = pathlib.Path(os.environ["FAKE_DOCKER_FAILED_KILLS_FILE"])
if sys.argv[1] == "run":
    words = sys.argv[sys.argv.index("image") + 1:]
    assert {{"--init", "--privileged", "--network"}} <= set(sys.argv)
    while os.environ["FAKE_DOCKER_FETCHES_UNTIL_A_KILL_FAILS"] and not failed_kills.exists():
        time.sleep(0.05)
    pid_file.write_text(str(os.getpid()))
    os.execv(sys.executable, [sys.executable, *words[1:]])
elif sys.argv[1:3] == ["kill", "--signal"]:
    if not pid_file.exists():
        failed_kills.touch()
        sys.exit("no such container")
    os.kill(int(pid_file.read_text()), getattr(signal, "SIG" + sys.argv[3]))
else:
    sys.exit(f"unexpected {{sys.argv}}")
"""

# Says what it was started with, then works until it is stopped; a stopped one "saves" and ends as the trainer does.
TRAINER = """
import signal, sys, time
def stop(number, frame):
    print("saved", flush=True)
    sys.exit(143)
signal.signal(signal.SIGTERM, stop)
print("arguments", sys.argv[1:], flush=True)
if sys.argv[1] == "end":
    sys.exit(int(sys.argv[2]))
time.sleep(60)
"""


class TpuMachine:
    """The services around one machine, and the run of the script on it."""

    def __init__(self, directory: pathlib.Path, arguments: tuple[str, ...]):
        run = container.Container("image", arguments, TRAINER)
        machine = hardware.tpu_vm(catalogue.load(), "v5e:2x4", zone="us-west4-a")
        node = tpu_vm_request.queued_resource(run, machine, OPTIONS).tpu.node_spec[0].node
        self.metadata = {f"attributes/{name}": value for name, value in node.metadata.items()}
        self.metadata["service-accounts/default/token"] = '{"access_token":"secret-token","expires_in":3599}'
        self.metadata["preempted"] = "FALSE"
        self.metadata["maintenance-event"] = "NONE"
        self.deleted: list[str] = []
        self.tokens: list[str] = []
        self.storage_faults = Faults()
        self.fetches_until_a_kill_fails = False
        self._directory = directory

    @contextlib.contextmanager
    def start(self):
        """Runs the script; yields its process."""
        (self._directory / "docker").write_text(DOCKER)
        (self._directory / "docker").chmod(0o755)
        with contextlib.ExitStack() as stack:
            metadata = stack.enter_context(cloud_servers.http_server(self._metadata_class()))
            address = stack.enter_context(cloud_servers.storage_server(self.storage_faults))
            environment = {
                "PATH": f"{self._directory}:{os.environ['PATH']}",
                "GCE_METADATA_HOST": metadata.removeprefix("http://"),
                "STORAGE_EMULATOR_HOST": address,
                "TPU_API_HOST": stack.enter_context(cloud_servers.http_server(self._tpu_class())),
                "TPU_IMAGES_POLL_SECS": "0.1",
                "FAKE_DOCKER_PID_FILE": str(self._directory / "docker.pid"),
                "FAKE_DOCKER_FAILED_KILLS_FILE": str(self._directory / "failed_kills"),
                "FAKE_DOCKER_FETCHES_UNTIL_A_KILL_FAILS": "yes" * self.fetches_until_a_kill_fails,
                "TMPDIR": str(self._directory),
            }
            process = subprocess.Popen([BASH, str(SCRIPT)], env=environment, stdout=subprocess.PIPE, text=True)
            try:
                yield process
                process.wait(timeout=60)
                self.output = process.stdout.read()
                self._read_results(address)
            finally:
                process.kill()
                process.wait()

    def wait_for_trainer(self) -> None:
        """Returns when the trainer has said that it runs."""
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            if any("arguments" in path.read_text(errors="ignore") for path in self._directory.glob("tmp.*")):
                return
            time.sleep(0.05)
        raise AssertionError("the trainer did not start")

    def _read_results(self, address: str) -> None:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("STORAGE_EMULATOR_HOST", address)
            client = storage.connect("p")
        self.outcome = json.loads(storage.read_bytes(client, OPTIONS.outcome_uri))
        self.log = storage.read_bytes(client, OPTIONS.log_uri).decode()

    def _metadata_class(machine):  # noqa: N805
        class Metadata(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                name = self.path.removeprefix("/computeMetadata/v1/instance/").partition("?")[0]
                is_known = name in machine.metadata and self.headers["Metadata-Flavor"] == "Google"
                self.send_response(200 if is_known else 404)
                self.end_headers()
                self.wfile.write(machine.metadata.get(name, "").encode())

            def log_message(self, *arguments: object) -> None:
                del arguments

        return Metadata

    def _tpu_class(machine):  # noqa: N805
        class Tpu(http.server.BaseHTTPRequestHandler):
            def do_DELETE(self) -> None:
                machine.deleted.append(self.path)
                machine.tokens.append(self.headers["Authorization"])
                self.send_response(200)
                self.end_headers()

            def log_message(self, *arguments: object) -> None:
                del arguments

        return Tpu


def test_the_trainer_runs_its_outcome_is_written_and_the_tpu_deleted(tmp_path):
    machine = TpuMachine(tmp_path, ("end", "0", "--name=with space", "quoted'word"))
    with machine.start():
        pass
    assert machine.outcome == {"exit_status": 0, "stop_reason": ""}
    assert "arguments ['end', '0', '--name=with space', \"quoted'word\"]" in machine.log
    assert machine.deleted == ["/v2/projects/p/locations/us-west4-a/queuedResources/flowers?force=true"]
    assert machine.tokens == ["Bearer secret-token"]
    assert "secret-token" not in machine.log + machine.output


def test_a_failure_is_told_too_and_ends_the_bill(tmp_path):
    machine = TpuMachine(tmp_path, ("end", "2"))
    with machine.start():
        pass
    assert machine.outcome == {"exit_status": 2, "stop_reason": ""}
    assert len(machine.deleted) == 1


@pytest.mark.parametrize(
    ("notice", "stop_reason"),
    [
        ({"preempted": "TRUE"}, "preempted"),
        ({"maintenance-event": "TERMINATE_ON_HOST_MAINTENANCE"}, "maintenance: TERMINATE_ON_HOST_MAINTENANCE"),
        (
            {"upcoming-maintenance": '{"maintenanceType": "SCHEDULED", "windowStartTime": "2026-01-01T00:00:00Z"}'},
            "maintenance at 2026-01-01T00:00:00Z",
        ),
    ],
)
def test_a_notice_stops_the_trainer_so_that_it_saves(tmp_path, notice, stop_reason):
    machine = TpuMachine(tmp_path, ("work",))
    with machine.start():
        machine.wait_for_trainer()
        machine.metadata.update(notice)
    assert machine.outcome == {"exit_status": 143, "stop_reason": stop_reason}
    assert "saved" in machine.log
    assert len(machine.deleted) == 1


def test_maintenance_in_the_distant_future_is_no_reason_to_stop(tmp_path):
    machine = TpuMachine(tmp_path, ("work",))
    machine.metadata["upcoming-maintenance"] = '{"windowStartTime": "2999-01-01T00:00:00Z"}'
    with machine.start() as process:
        machine.wait_for_trainer()
        time.sleep(1)
        assert process.poll() is None
        machine.metadata["preempted"] = "TRUE"
    assert machine.outcome["stop_reason"] == "preempted"


def test_a_shutdown_of_the_machine_stops_the_trainer(tmp_path):
    machine = TpuMachine(tmp_path, ("work",))
    with machine.start() as process:
        machine.wait_for_trainer()
        process.send_signal(signal.SIGTERM)
    assert machine.outcome == {"exit_status": 143, "stop_reason": "the machine shuts down"}


def test_a_notice_while_the_image_is_fetched_stops_the_trainer_when_it_runs(tmp_path):
    machine = TpuMachine(tmp_path, ("work",))
    machine.metadata["preempted"] = "TRUE"
    machine.fetches_until_a_kill_fails = True
    with machine.start():
        pass
    assert machine.outcome == {"exit_status": 143, "stop_reason": "preempted"}
    assert machine.log.count("stopping the trainer") == 1


@pytest.mark.slow
def test_out_of_time(tmp_path):
    machine = TpuMachine(tmp_path, ("work",))
    machine.metadata["attributes/tpu-images-max-seconds"] = "1"
    with machine.start():
        pass
    assert machine.outcome["stop_reason"] == "out of time"


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_uploads_get_through_faults(tmp_path, seed):
    machine = TpuMachine(tmp_path, ("end", "0"))
    machine.storage_faults = Faults(0.3, seed)
    with machine.start():
        pass
    assert machine.outcome["exit_status"] == 0


@pytest.mark.skipif(SHELLCHECK is None, reason="shellcheck is not installed")
def test_shellcheck_has_nothing_to_say():
    subprocess.run([SHELLCHECK, str(SCRIPT)], check=True)
