import pytest

from trainer.engine import topology
from trainer.preflight import estimate


def rate_without(run):
    """The rate that the other runs' shares predict for `run`, images per second of one chip."""
    tpu_type = topology.TPU_TYPES[run.tpu_type]
    shares = [other.share for other in estimate.published_runs() if other is not run]
    at_roof = tpu_type.devices_per_chip / estimate.roofline(run.flops, run.hbm_bytes, tpu_type).secs
    return at_roof * (min(shares) + max(shares)) / 2


@pytest.mark.parametrize("run", estimate.published_runs(), ids=lambda run: run.name)
def test_each_published_run_is_predicted_from_the_others(run):
    assert rate_without(run) == pytest.approx(run.images_per_sec, rel=0.25)


def test_published_runs_cover_three_generations_and_name_their_source():
    assert {run.tpu_type for run in estimate.published_runs()} == {"v2", "v3", "v4"}
    assert all(run.source and 0 < run.share < 1 for run in estimate.published_runs())


def test_roofline_takes_the_longer_time():
    v5e = topology.TPU_TYPES["v5e"]
    assert estimate.roofline(197e12, 410e9, v5e) == estimate.Roofline(arithmetic_secs=1.0, hbm_secs=0.5)
    assert estimate.roofline(197e12, 410e9, v5e).bound == "arithmetic"
    assert estimate.roofline(19.7e12, 820e9, v5e).bound == "HBM bandwidth"
    assert estimate.roofline(19.7e12, 820e9, v5e).secs == 1.0


def test_rate_is_of_all_devices():
    rate = estimate.images_per_sec(estimate.Roofline(0.5, 1.0), per_replica_batch_size=64, num_devices=8)
    assert 0.5 * 512 < rate.low < rate.middle < rate.high < 512
