import dataclasses

import pytest

from trainer.errors import UserError
from trainer.preflight import preflight

pytestmark = pytest.mark.slow


@pytest.fixture
def options(tpu_compiler):
    return preflight.Options(tpu_compiler=tpu_compiler)


def test_verdicts_for_two_generations(workload, options):
    """v6e is a TPU on which TensorFlow itself does not run."""
    one_chip, four_chips = preflight.preflight(workload, ["v5e", "v6e:2x2"], options)
    assert (one_chip.topology, one_chip.num_devices, one_chip.per_replica_batch_size) == ("v5e:1x1", 1, 64)
    assert (four_chips.topology, four_chips.num_devices, four_chips.per_replica_batch_size) == ("v6e:2x2", 4, 16)
    for verdict in (one_chip, four_chips):
        figures = verdict.figures
        assert verdict.problem == ""
        assert 0 < figures.memory.needed_bytes < figures.memory.available_bytes
        assert figures.memory.state_bytes == 4 * 2 * (512 * 256 + 256 * 10) + 8
        assert figures.hbm_traffic_bytes > figures.memory.state_bytes
        low, high = figures.images_per_sec
        assert 0 < low < high
        shortest, longest = figures.cost.hours
        assert shortest == pytest.approx(workload.num_examples / high / 3600)
        assert longest == pytest.approx(workload.num_examples / low / 3600)
        assert "hidden" in {item.layer for item in figures.largest_operations}
    matmul_flops = 2 * 64 * 512 * 256
    assert one_chip.figures.flops == pytest.approx(2 * matmul_flops, rel=0.1), "forward, and gradient of the kernel"


def test_sums_over_replicas_on_the_newest_generation(workload, options):
    """There the compiler moves them to the sparse cores, by operations that JAX cannot print."""
    (verdict,) = preflight.preflight(workload, ["tpu7x"], options)
    figures = verdict.figures
    gradient_bytes = 4 * 512 * 256
    summed = [item for item in figures.largest_operations if "CrossReplicaSum" in item.op_name]
    assert {item.hbm_bytes for item in summed} >= {gradient_bytes}
    assert verdict.num_devices == 2
    assert gradient_bytes * 2 < figures.hbm_traffic_bytes < gradient_bytes * 20


def test_prices_of_the_user(workload, options, tmp_path):
    table = tmp_path / "prices.toml"
    table.write_text("[tpu_chip_hour]\nv5e = 10\n")
    options = dataclasses.replace(options, price_file=str(table))
    with_price, without_price = preflight.preflight(workload, ["v5e", "v6e:2x2"], options)
    cost = with_price.figures.cost
    assert cost.dollars == pytest.approx([10 * hours for hours in cost.hours])
    assert without_price.figures.cost.dollars is None


def test_a_step_that_does_not_fit_gets_its_verdict(workload, options):
    large = dataclasses.replace(workload, global_batch_size=16_000_000)
    (verdict,) = preflight.preflight(large, ["v5e"], options)
    assert verdict.figures is None
    assert "v5e:1x1: does not fit" in verdict.problem
    assert verdict.is_too_large
    assert "15.75GiB" in verdict.problem


def test_the_largest_batch_is_found_by_compiling(training_step, options):
    wide = dataclasses.replace(training_step, params={"width": 20_000})
    compiled = set()
    options = dataclasses.replace(
        options, find_largest_batch=True, progress=lambda what, elapsed_secs: compiled.add(what)
    )
    (verdict,) = preflight.preflight(preflight.Workload("wide", wide, 65536, 0), ["v5e"], options)
    found = verdict.largest_batch
    assert f"v5e:1x1, {found.per_replica_batch_size} examples on each device" in compiled
    assert found.per_replica_batch_size % 8 == 0
    assert found.per_replica_batch_size > 65536
    beyond = preflight.Workload("wide", wide, int(found.per_replica_batch_size * 1.02) // 8 * 8 + 8, 0)
    (verdict,) = preflight.preflight(beyond, ["v5e"], dataclasses.replace(options, find_largest_batch=False))
    assert "does not fit" in verdict.problem


def test_a_batch_that_does_not_divide(workload, options):
    with pytest.raises(UserError, match=r"v5e:1x3: a batch of 64 does not divide.*--global_batch_size=63"):
        preflight.preflight(workload, ["v5e:1x3"], options)
