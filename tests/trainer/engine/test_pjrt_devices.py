import os
import subprocess
import sys

import pytest

from trainer.engine import pjrt_devices
from trainer.errors import UserError


def test_mock_devices_are_as_many_as_asked_for():
    devices = pjrt_devices.select("mock:4")
    assert (devices.platform, len(devices.devices)) == ("cpu", 4)
    assert str(devices) == "4 x cpu (cpu)"


def test_a_machine_with_cpus_alone_has_no_accelerator():
    assert pjrt_devices.available() is None


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("local", "--tpu=local: JAX finds no TPU"),
        ("gpu", "--tpu=gpu: JAX finds no GPU"),
        ("mock:0", "--tpu=mock:0: no such device"),
        ("remote", "--tpu=remote: no such device"),
        ("mock:999", "--tpu=mock:999: JAX is running already, with 8 CPU"),
    ],
)
def test_what_is_not_there_is_told(target, message):
    pjrt_devices.select("mock:8")
    with pytest.raises(UserError, match=message):
        pjrt_devices.select(target)


def test_mock_devices_need_no_environment():
    code = "from trainer.engine import pjrt_devices; print(pjrt_devices.select('mock:6'))"
    environment = {name: value for name, value in os.environ.items() if not name.startswith("JAX_")}
    done = subprocess.run([sys.executable, "-c", code], env=environment, check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "6 x cpu (cpu)"


def test_processes_that_are_told_of_one_another_incompletely(monkeypatch):
    monkeypatch.setenv("JAX_COORDINATOR_ADDRESS", "localhost:1234")
    monkeypatch.setenv("JAX_NUM_PROCESSES", "2")
    with pytest.raises(UserError, match="JAX_PROCESS_ID: not set"):
        pjrt_devices.select("mock:2")
