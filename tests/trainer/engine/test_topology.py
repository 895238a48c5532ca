import subprocess
import sys

import pytest

from trainer.engine import topology
from trainer.errors import UserError


@pytest.mark.parametrize(
    ("name", "canonical", "num_chips", "num_devices"),
    [
        ("v5e:2x4", "v5e:2x4", 8, 8),
        ("v5e", "v5e:1x1", 1, 1),
        ("V2:2x2", "v2:2x2", 4, 8),
        ("v4:2x2x2", "v4:2x2x2", 8, 16),
        ("tpu7x", "tpu7x:1x1x1", 1, 2),
    ],
)
def test_parse(name, canonical, num_chips, num_devices):
    parsed = topology.parse(name)
    assert (parsed.name, parsed.num_chips, parsed.num_devices) == (canonical, num_chips, num_devices)


@pytest.mark.parametrize(
    ("name", "remedy"),
    [
        ("v5litepod:2x4", "the compiler calls it v5e"),
        ("v5litepod-8", "write v5e and its shape in chips, such as v5e:2x2;"),
        ("v4-32", "write v4 and its shape in chips, such as v4:2x2x1;"),
        ("", r"\(empty\): no such TPU type"),
        ("h100", "known types: v2, v3, v4, v5e, v5p, v6e, tpu7x"),
        ("v5e:8", "2 dimensions, such as v5e:2x2"),
        ("v4:2x2", "3 dimensions, such as v4:2x2x1"),
        ("v5e:0x4", "2 dimensions"),
        ("v5e:2x", "2 dimensions"),
    ],
)
def test_parse_says_what_is_known(name, remedy):
    with pytest.raises(UserError, match=remedy):
        topology.parse(name)


def test_a_device_has_its_share_of_the_chip():
    v3 = topology.TPU_TYPES["v3"]
    assert v3.device_flops_per_sec == 61.5e12
    assert v3.device_program_hbm_bytes < 16 * topology.GIB
    assert v3.device_hbm_bytes_per_sec == 450e9


@pytest.mark.slow
def test_the_compiler_knows_every_type_and_cpu_devices_stay():
    names = [*topology.TPU_TYPES, "v2:2x2", "v3:4x4", "v4:2x2x2", "v5e:2x3", "v6e:1x2", "tpu7x:2x2x1"]
    program = f"""
import os
from trainer.engine import topology
os.environ.update(topology.COMPILER_ENVIRONMENT)
for name in {names}:
    parsed = topology.parse(name)
    assert len(topology.compile_only_devices(parsed)) == parsed.num_devices, name
import jax
assert jax.devices()[0].platform == "cpu" and float(jax.numpy.ones(3).sum()) == 3
"""
    subprocess.run([sys.executable, "-c", program], check=True)
