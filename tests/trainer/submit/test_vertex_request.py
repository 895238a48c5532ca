import pytest
from google.cloud import aiplatform_v1

from trainer.submit import catalogue, container, hardware, request_text, vertex_request

TABLES = catalogue.load()
RUN = container.from_image("image", ("train", "gs://b/d", "--model_dir=gs://b/m"))
OPTIONS = vertex_request.JobOptions(display_name="job", output_dir="gs://b/m")


def machine_spec(tpu_type: str, region: str) -> dict:
    machine = hardware.vertex_tpu(TABLES, tpu_type, region=region)
    job = request_text.as_json(vertex_request.custom_job(RUN, machine, OPTIONS))
    (pool,) = job["jobSpec"]["workerPoolSpecs"]
    assert pool["replicaCount"] == "1"
    return pool["machineSpec"]


# https://cloud.google.com/vertex-ai/docs/training/configure-compute#tpu
@pytest.mark.parametrize(
    ("tpu_type", "region", "documented"),
    [
        (
            "v2:2x2",
            "us-central1",
            {"machineType": "cloud-tpu", "acceleratorType": "TPU_V2", "acceleratorCount": 8},
        ),
        (
            "v2:4x4",
            "us-central1",
            {"machineType": "cloud-tpu", "acceleratorType": "TPU_V2", "acceleratorCount": 32},
        ),
        (
            "v3:2x2",
            "europe-west4",
            {"machineType": "cloud-tpu", "acceleratorType": "TPU_V3", "acceleratorCount": 8},
        ),
        ("v5e:1x1", "us-west1", {"machineType": "ct5lp-hightpu-1t", "tpuTopology": "1x1"}),
        ("v5e:2x2", "us-west1", {"machineType": "ct5lp-hightpu-4t", "tpuTopology": "2x2"}),
        ("v5e:2x4", "us-west1", {"machineType": "ct5lp-hightpu-8t", "tpuTopology": "2x4"}),
        ("v5e:4x4", "us-west1", {"machineType": "ct5lp-hightpu-4t", "tpuTopology": "4x4"}),
        ("v6e:2x4", "us-east5", {"machineType": "ct6e-standard-8t", "tpuTopology": "2x4"}),
        ("tpu7x:2x2x1", "us-central1", {"machineType": "tpu7x-standard-4t", "tpuTopology": "2x2x1"}),
    ],
)
def test_each_tpu_is_asked_for_in_the_documented_form(tpu_type, region, documented):
    assert machine_spec(tpu_type, region) == documented


def test_gpus():
    machine = hardware.vertex_machine(TABLES, "g2-standard-24", region="us-central1")
    (pool,) = vertex_request.custom_job(RUN, machine, OPTIONS).job_spec.worker_pool_specs
    assert pool.machine_spec.accelerator_type == aiplatform_v1.AcceleratorType.NVIDIA_L4
    assert (pool.machine_spec.machine_type, pool.machine_spec.accelerator_count) == ("g2-standard-24", 2)


@pytest.mark.parametrize("generation", [name for name, tpu in TABLES.tpus.items() if tpu.vertex])
def test_every_row_of_the_tables_makes_a_job_that_the_client_accepts(generation):
    service = TABLES.tpus[generation].vertex
    for name, machine in service.machines.items():
        for topology in machine.topologies:
            chosen = hardware.vertex_tpu(
                TABLES, f"{generation}:{topology}", region=service.regions[0], machine_type=name
            )
            vertex_request.custom_job(RUN, chosen, OPTIONS)


def test_every_machine_of_the_tables_makes_a_job_that_the_client_accepts():
    for name, gpus in TABLES.machines.items():
        assert name in TABLES.prices.machine_hour
        for gpu, counts in gpus.items():
            machine = hardware.vertex_machine(
                TABLES, name, region=TABLES.gpu_regions[gpu][0], gpu=f"{gpu}:{counts[-1]}"
            )
            vertex_request.custom_job(RUN, machine, OPTIONS)


def test_what_the_user_asked_for_is_in_the_job():
    options = vertex_request.JobOptions(
        display_name="flowers",
        output_dir="gs://b/m",
        max_hours=1.5,
        is_spot=True,
        service_account="trainer@p.iam.gserviceaccount.com",
        network="projects/1/global/networks/n",
        tensorboard="projects/1/locations/us-west1/tensorboards/2",
        labels={"team": "vision"},
    )
    machine = hardware.vertex_machine(TABLES, "e2-standard-4", region="us-central1")
    job = vertex_request.custom_job(RUN, machine, options)
    spec = job.job_spec
    assert (job.display_name, dict(job.labels)) == ("flowers", {"team": "vision"})
    assert spec.scheduling.strategy == aiplatform_v1.Scheduling.Strategy.SPOT
    assert spec.scheduling.timeout.total_seconds() == 5400
    assert spec.scheduling.restart_job_on_worker_restart
    assert (spec.service_account, spec.network) == (options.service_account, options.network)
    assert spec.tensorboard == options.tensorboard
