import contextlib

import pytest

from tests.trainer.submit import cloud_servers
from tests.trainer.submit.cloud_servers import Faults, ScriptedFaults
from tests.trainer.submit.tpu_server import STATES, TpuServer, outcome_text
from trainer.errors import UserError
from trainer.submit import catalogue, container, hardware, storage, tpu_vm_request, tpu_vm_service

OPTIONS = tpu_vm_request.TpuVmOptions(
    project="p", zone="us-west4-a", name="flowers", output_dir="gs://bucket/model", max_hours=2, is_spot=True
)
MACHINE = hardware.tpu_vm(catalogue.load(), "v5e:2x4", zone="us-west4-a", is_spot=True)
REQUEST = tpu_vm_request.queued_resource(container.from_image("i", ("train",)), MACHINE, OPTIONS)


class Cloud:
    """A run against local services; machines write outcomes and logs with `ends`."""

    def __init__(self, monkeypatch):
        self._monkeypatch = monkeypatch
        self.services = None
        self.lines: list[str] = []

    @contextlib.contextmanager
    def serve(self, server: TpuServer, tpu_faults: Faults | None = None, storage_faults: Faults | None = None):
        with (
            server.serve(tpu_faults or Faults()),
            cloud_servers.storage_server(storage_faults or Faults()) as address,
        ):
            self._monkeypatch.setenv("STORAGE_EMULATOR_HOST", address)
            self._monkeypatch.setenv(tpu_vm_service.EMULATOR_VARIABLE, server.address)
            connected = tpu_vm_service.connect("p")
            self.services = tpu_vm_service.TpuVmService(connected.tpu, connected.storage, poll_interval_secs=0.01)
            yield

    def ends(self, exit_status: int, stop_reason: str = "", log: str = "", state=STATES.ACTIVE):
        """Returns what a machine does when its trainer ends."""

        def step():
            for uri, text in ((OPTIONS.log_uri, log), (OPTIONS.outcome_uri, outcome_text(exit_status, stop_reason))):
                bucket, name = uri.removeprefix("gs://").split("/", 1)
                blob = self.services.storage.bucket(bucket).blob(name)
                tpu_vm_service.call("machine", lambda blob=blob, text=text: blob.upload_from_string(text, retry=None))
            return state

        return step

    def run(self) -> tpu_vm_service.Outcome:
        return tpu_vm_service.run_until_done(self.services, REQUEST, OPTIONS, self.lines.append)


@pytest.fixture
def cloud(monkeypatch):
    return Cloud(monkeypatch)


def test_a_tpu_is_asked_for_followed_and_deleted(cloud):
    server = TpuServer(
        [STATES.WAITING_FOR_RESOURCES, STATES.PROVISIONING, STATES.ACTIVE, cloud.ends(0, log="step 1\nstep 2\n")]
    )
    with cloud.serve(server):
        assert cloud.run() == tpu_vm_service.Outcome(0, "")
        assert storage.read_bytes(cloud.services.storage, OPTIONS.outcome_uri) is None
    assert server.resources == {}
    (request,) = server.created
    assert (request.parent, request.queued_resource_id) == ("projects/p/locations/us-west4-a", "flowers")
    states = ["waiting for resources", "provisioning", "active"]
    assert [line for line in cloud.lines if line in states] == states
    assert cloud.lines[-2:] == ["  step 1", "  step 2"]


@pytest.mark.parametrize("last_state", [STATES.SUSPENDED, STATES.ACTIVE, None])
def test_it_is_queued_again_until_the_training_is_done(cloud, last_state):
    server = TpuServer(
        [STATES.ACTIVE, STATES.SUSPENDED],
        [STATES.ACTIVE, cloud.ends(143, "preempted", state=last_state)],
        [STATES.WAITING_FOR_RESOURCES, STATES.ACTIVE, cloud.ends(0, state=last_state)],
    )
    with cloud.serve(server):
        assert cloud.run().exit_status == 0
    assert len(server.created) == 3
    assert server.resources == {}
    assert "interrupted (the TPU was taken away): asking for another TPU" in cloud.lines
    assert "interrupted (preempted): asking for another TPU" in cloud.lines


def test_machines_that_end_without_a_word_are_not_asked_for_for_ever(cloud):
    server = TpuServer(*[[STATES.ACTIVE, STATES.SUSPENDED] for _ in range(4)])
    with cloud.serve(server), pytest.raises(UserError, match=r"3 TPUs in a row ended .*grant --service_account"):
        cloud.run()
    assert len(server.created) == 3
    assert server.resources == {}


def test_only_machines_in_a_row_count_as_ending_without_a_word(cloud):
    silent, preempted = [STATES.ACTIVE, STATES.SUSPENDED], [STATES.ACTIVE, cloud.ends(143, "preempted")]
    server = TpuServer(silent, silent, preempted, silent, silent, [STATES.ACTIVE, cloud.ends(0)])
    with cloud.serve(server):
        assert cloud.run().exit_status == 0
    assert len(server.created) == 6


@pytest.mark.parametrize(("exit_status", "stop_reason"), [(1, ""), (2, ""), (143, "out of time")])
def test_a_failure_is_not_tried_again(cloud, exit_status, stop_reason):
    server = TpuServer([STATES.ACTIVE, cloud.ends(exit_status, stop_reason)])
    with cloud.serve(server):
        assert cloud.run() == tpu_vm_service.Outcome(exit_status, stop_reason)
    assert len(server.created) == 1


def test_a_request_that_the_cloud_gives_up_is_deleted_and_explained(cloud):
    server = TpuServer(["no quota for v5litepod"])
    with (
        cloud.serve(server),
        pytest.raises(UserError, match=r"could not provide it \(no quota for v5litepod\); try another zone"),
    ):
        cloud.run()
    assert server.resources == {}


def test_the_same_command_takes_over_a_tpu_that_is_running(cloud):
    server = TpuServer([STATES.ACTIVE, STATES.ACTIVE, STATES.ACTIVE, cloud.ends(0)])
    with cloud.serve(server):
        tpu_vm_service._create(cloud.services, REQUEST, OPTIONS)
        assert cloud.run().exit_status == 0
    assert len(server.created) == 1


def test_an_outcome_that_nobody_saw_is_the_answer(cloud):
    server = TpuServer([])
    with cloud.serve(server):
        cloud.ends(0)()
        assert cloud.run().exit_status == 0
    assert server.created == []


@pytest.mark.parametrize("script", [("429",), ("503", "reset"), ("reset", "503", "429")])
def test_a_tpu_is_asked_for_once_whatever_goes_wrong_on_the_way(cloud, script):
    server = TpuServer([STATES.ACTIVE, cloud.ends(0)])
    with cloud.serve(server, ScriptedFaults("", *script)):
        assert cloud.run().exit_status == 0
    assert len(server.created) == 1


@pytest.mark.slow
def test_with_five_percent_of_faults_every_run_comes_to_its_end(cloud):
    for seed in range(10):
        machines = [[STATES.ACTIVE, STATES.SUSPENDED], [STATES.ACTIVE, STATES.ACTIVE, cloud.ends(0)]]
        server = TpuServer(*machines)
        with cloud.serve(server, Faults(0.05, seed), Faults(0.05, seed + 100)):
            assert cloud.run().exit_status == 0
        assert len(server.created) == 2
