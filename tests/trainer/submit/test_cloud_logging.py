import pytest

from tests.trainer.submit import cloud_servers
from tests.trainer.submit.cloud_servers import Faults, ScriptedFaults
from trainer.errors import UserError
from trainer.submit import cloud_logging


@pytest.fixture
def log(monkeypatch):
    def connected(address: str) -> cloud_logging.JobLog:
        monkeypatch.setenv(cloud_logging.EMULATOR_VARIABLE, address)
        return cloud_logging.JobLog("p", "42")

    return connected


def test_each_line_is_handed_out_once(log):
    lines = [f"step {number}" for number in range(5)]
    with cloud_servers.logging_server(lines, Faults()) as address:
        job_log = log(address)
        assert job_log.new_lines() == lines
        assert job_log.new_lines() == []


@pytest.mark.parametrize("script", [("429",), ("503", "reset"), ("reset", "429", "503")])
def test_busy_services_are_asked_again(log, script):
    with cloud_servers.logging_server(["step 1"], ScriptedFaults(*script)) as address:
        assert log(address).new_lines() == ["step 1"]


def test_without_the_role_it_says_so(log):
    with (
        cloud_servers.logging_server(["step 1"], ScriptedFaults("403")) as address,
        pytest.raises(UserError, match=r"read the job's log: .*grant the missing role"),
    ):
        log(address).new_lines()
