import pytest

from trainer.errors import UserError
from trainer.submit import catalogue, hardware

TABLES = catalogue.load()


@pytest.mark.parametrize(
    ("tpu_type", "region", "machine_type", "accelerator", "num_hosts", "num_replicas"),
    [
        ("v2:2x2", "us-central1", "cloud-tpu", ("TPU_V2", 8), 1, 8),
        ("v3:2x2", "europe-west4", "cloud-tpu", ("TPU_V3", 8), 1, 8),
        ("v3:4x4", "europe-west4", "cloud-tpu", ("TPU_V3", 32), 4, 32),
        ("v5e:1x1", "us-west1", "ct5lp-hightpu-1t", ("", 0), 1, 1),
        ("v5e:2x2", "us-west1", "ct5lp-hightpu-4t", ("", 0), 1, 4),
        ("v5e:2x4", "us-west1", "ct5lp-hightpu-8t", ("", 0), 1, 8),
        ("v5e:4x4", "us-west1", "ct5lp-hightpu-4t", ("", 0), 4, 16),
        ("v6e:2x4", "us-east5", "ct6e-standard-8t", ("", 0), 1, 8),
        ("tpu7x:2x2x1", "us-central1", "tpu7x-standard-4t", ("", 0), 1, 8),
    ],
)
def test_vertex_tpu(tpu_type, region, machine_type, accelerator, num_hosts, num_replicas):
    machine = hardware.vertex_tpu(TABLES, tpu_type, region=region)
    assert machine.machine_type == machine_type
    assert (machine.accelerator_type, machine.accelerator_count) == accelerator
    assert (machine.num_hosts, machine.num_replicas) == (num_hosts, num_replicas)
    assert machine.extra == "tpu"


def test_a_smaller_machine_makes_the_same_slice_of_more_hosts():
    machine = hardware.vertex_tpu(TABLES, "v5e:2x4", region="us-west1", machine_type="ct5lp-hightpu-4t")
    assert (machine.machine_type, machine.num_hosts, machine.num_replicas) == ("ct5lp-hightpu-4t", 2, 8)


@pytest.mark.parametrize(
    ("tpu_type", "flags", "message"),
    [
        ("v5:2x4", {}, "--tpu_type=v5:2x4: no such TPU; did you mean v5p?"),
        ("9", {}, "no such TPU; write generation:topology, as in v5e:2x4; the generations are v2, v3"),
        ("v5e", {}, "--tpu_type=v5e: has no topology; write one, as in v5e:2x4 or v4:2x2x1"),
        ("v5e:2xq", {}, "has no topology"),
        ("v4:2x2x1", {}, "Vertex AI has no TPU v4; use v2, v3, v5e, v6e, tpu7x, or tpu-images submit tpu-vm"),
        ("v5p:2x2x1", {}, "Vertex AI has no TPU v5p"),
        ("v5e:3x3", {}, "there are no slices of topology 3x3; use one of 1x1, 2x2, 2x4"),
        (
            "v5e:4x4",
            {"machine_type": "ct5lp-hightpu-8t"},
            "does not form a slice of topology 4x4; leave it out, or use",
        ),
        ("v5e:2x4", {"machine_type": "n1-standard-8"}, "use ct5lp-hightpu-4t or ct5lp-hightpu-8t"),
        (
            "v5e:2x4",
            {"region": "europe-west1"},
            "--region=europe-west1: has no TPU v5e on Vertex AI; TPU v5e on Vertex AI is in",
        ),
    ],
)
def test_what_vertex_does_not_have_is_refused_with_the_remedy(tpu_type, flags, message):
    with pytest.raises(UserError) as refusal:
        hardware.vertex_tpu(TABLES, tpu_type, **{"region": "us-west1", **flags})
    assert message in str(refusal.value)


@pytest.mark.parametrize(
    ("machine_type", "gpu", "accelerator", "extra"),
    [
        ("n1-standard-8", "", ("", 0), "cpu"),
        ("e2-standard-4", "", ("", 0), "cpu"),
        ("n1-standard-8", "NVIDIA_TESLA_T4", ("NVIDIA_TESLA_T4", 1), "gpu"),
        ("n1-standard-8", "NVIDIA_TESLA_T4:4", ("NVIDIA_TESLA_T4", 4), "gpu"),
        ("g2-standard-24", "", ("NVIDIA_L4", 2), "gpu"),
        ("a3-highgpu-8g", "NVIDIA_H100_80GB:8", ("NVIDIA_H100_80GB", 8), "gpu"),
    ],
)
def test_vertex_machine(machine_type, gpu, accelerator, extra):
    machine = hardware.vertex_machine(TABLES, machine_type, region="us-central1", gpu=gpu)
    assert (machine.accelerator_type, machine.accelerator_count) == accelerator
    assert machine.extra == extra
    assert machine.num_replicas == max(1, accelerator[1])


@pytest.mark.parametrize(
    ("machine_type", "gpu", "region", "message"),
    [
        (
            "g2-standard-7",
            "",
            "us-central1",
            "Vertex AI has no such machine type in our table; did you mean g2-standard-",
        ),
        ("g2-standard-8", "NVIDIA_L4:2", "us-central1", "g2-standard-8 does not take it; use one of NVIDIA_L4:1"),
        ("n1-standard-8", "NVIDIA_TESLA_T4:x", "us-central1", "use one of NVIDIA_TESLA_T4:1, NVIDIA_TESLA_T4:2"),
        ("e2-standard-4", "NVIDIA_L4:1", "us-central1", "this machine takes no GPU: leave --gpu out"),
        ("e2-standard-4", "", "mars-north1", "--region=mars-north1: has no Vertex AI"),
        ("a3-ultragpu-8g", "", "asia-east1", "has no NVIDIA_H200_141GB; NVIDIA_H200_141GB is in us-central1"),
    ],
)
def test_a_machine_that_does_not_exist_is_refused(machine_type, gpu, region, message):
    with pytest.raises(UserError) as refusal:
        hardware.vertex_machine(TABLES, machine_type, region=region, gpu=gpu)
    assert message in str(refusal.value)


@pytest.mark.parametrize(
    ("tpu_type", "zone", "name", "num_hosts"),
    [
        ("v2:2x2", "us-central1-b", "v2-8", 1),
        ("v3:4x4", "europe-west4-a", "v3-32", 4),
        ("v4:2x2x1", "us-central2-b", "v4-8", 1),
        ("v5e:2x4", "us-west4-a", "v5litepod-8", 1),
        ("v5e:4x4", "us-west4-a", "v5litepod-16", 4),
        ("v5p:2x2x1", "us-east5-a", "v5p-8", 1),
        ("v6e:1x1", "us-east5-b", "v6e-1", 1),
    ],
)
def test_cloud_tpu_names_its_slices_in_its_own_units(tpu_type, zone, name, num_hosts):
    machine = hardware.tpu_vm(TABLES, tpu_type, zone=zone)
    assert (machine.machine_type, machine.num_hosts) == (name, num_hosts)


@pytest.mark.parametrize(
    ("tpu_type", "zone", "message"),
    [
        ("tpu7x:2x2x1", "us-central1-c", "Cloud TPU creates no TPU tpu7x; use tpu-images submit vertex"),
        ("v4:3x3x3", "us-central2-b", "there are no slices of topology 3x3x3"),
        ("v4:2x2x1", "us-central1-a", "--zone=us-central1-a: has no TPU v4; TPU v4 is in us-central2-b"),
    ],
)
def test_what_cloud_tpu_does_not_have_is_refused(tpu_type, zone, message):
    with pytest.raises(UserError) as refusal:
        hardware.tpu_vm(TABLES, tpu_type, zone=zone)
    assert message in str(refusal.value)


def test_prices_are_by_chip_or_machine_and_managed_on_vertex_only():
    prices = TABLES.prices
    managed = 1 + prices.vertex_management_share
    on_vertex = hardware.vertex_tpu(TABLES, "v5e:2x4", region="us-west1")
    on_vm = hardware.tpu_vm(TABLES, "v5e:2x4", zone="us-west4-a")
    with_gpus = hardware.vertex_machine(TABLES, "n1-standard-8", region="us-central1", gpu="NVIDIA_TESLA_T4:2")
    assert on_vm.dollars_per_hour == pytest.approx(8 * prices.tpu_chip_hour["v5e"])
    assert on_vertex.dollars_per_hour == pytest.approx(8 * prices.tpu_chip_hour["v5e"] * managed)
    machine_price = prices.machine_hour["n1-standard-8"] + 2 * prices.gpu_hour["NVIDIA_TESLA_T4"]
    assert with_gpus.dollars_per_hour == pytest.approx(machine_price * managed)


def test_an_unknown_price_is_not_zero():
    assert hardware.tpu_vm(TABLES, "v4:2x2x1", zone="us-central2-b", is_spot=True).dollars_per_hour is None


def test_batches_must_divide_among_the_replicas():
    machine = hardware.vertex_tpu(TABLES, "v5e:2x4", region="us-west1")
    hardware.check_batch_sizes(machine, [("global_batch_size", 64)])
    with pytest.raises(UserError, match="100 examples do not divide among 8 replicas; use 96 or 104"):
        hardware.check_batch_sizes(machine, [("global_batch_size", 64), ("eval_global_batch_size", 100)])
    with pytest.raises(UserError, match="use 8"):
        hardware.check_batch_sizes(machine, [("global_batch_size", 4)])
