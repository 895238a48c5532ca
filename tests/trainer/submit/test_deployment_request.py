import pytest

from trainer.errors import UserError
from trainer.submit import catalogue, deployment_request, hardware, request_text
from trainer.submit.deployment_request import Deployment

MACHINE = hardware.vertex_machine(catalogue.load(), "n1-standard-4", region="europe-west4", gpu="NVIDIA_TESLA_T4:1")
FIELDS = {"project": "p", "region": "europe-west4", "name": "flowers", "export_dir": "gs://b/m/export/1700000000"}


def test_the_prebuilt_container_gets_the_saved_model_itself():
    request = deployment_request.upload_model(Deployment(**FIELDS, submission="123"))
    assert request.model.artifact_uri == "gs://b/m/export/1700000000"
    assert request.model.container_spec.image_uri.startswith("europe-docker.pkg.dev/vertex-ai/prediction/tf2-cpu.")
    assert request.model_id == "flowers-123"


def test_tensorflow_serving_gets_the_directory_of_versions():
    image = "europe-west4-docker.pkg.dev/p/images/serving:2.19.1"
    model = deployment_request.upload_model(Deployment(**FIELDS, serving_image=image)).model
    assert model.artifact_uri == "gs://b/m/export"
    assert request_text.as_json(model)["containerSpec"] == {
        "imageUri": image,
        "command": ["/usr/bin/tensorflow_model_server"],
        "args": [
            "--rest_api_port=8501",
            "--model_name=classifier",
            "--model_base_path=$(AIP_STORAGE_URI)",
        ],
        "ports": [{"containerPort": 8501}],
        "predictRoute": "/v1/models/classifier:predict",
        "healthRoute": "/v1/models/classifier",
    }


def test_the_model_takes_all_traffic_on_the_machines_that_were_asked_for():
    deployment = Deployment(**FIELDS, min_replicas=1, max_replicas=3, submission="123", service_account="s@p")
    assert request_text.as_json(deployment_request.deploy_model(deployment, MACHINE)) == {
        "endpoint": "projects/p/locations/europe-west4/endpoints/flowers-123",
        "deployedModel": {
            "id": "123",
            "model": "projects/p/locations/europe-west4/models/flowers-123",
            "displayName": "flowers",
            "serviceAccount": "s@p",
            "dedicatedResources": {
                "machineSpec": {
                    "machineType": "n1-standard-4",
                    "acceleratorType": "NVIDIA_TESLA_T4",
                    "acceleratorCount": 1,
                },
                "minReplicaCount": 1,
                "maxReplicaCount": 3,
            },
        },
        "trafficSplit": {"0": 100},
    }


@pytest.mark.parametrize(
    ("endpoint", "name"),
    [
        ("", "projects/p/locations/europe-west4/endpoints/flowers-123"),
        ("7", "projects/p/locations/europe-west4/endpoints/7"),
        ("projects/9/locations/europe-west4/endpoints/7", "projects/9/locations/europe-west4/endpoints/7"),
    ],
)
def test_the_endpoint_is_new_or_the_one_that_is_named(endpoint, name):
    assert Deployment(**FIELDS, endpoint=endpoint, submission="123").endpoint_name == name


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"name": "Flowers"}, "--name=Flowers: not a name for a model"),
        (
            {"export_dir": "gs://b/m/export"},
            "is no version of an export; name the version too: gs://.../export/VERSION",
        ),
        ({"min_replicas": 2}, "--min_replicas=2: out of range"),
        ({"min_replicas": 0}, "--min_replicas=0: out of range"),
    ],
)
def test_a_deployment_checks_itself(fields, message):
    with pytest.raises(UserError) as refusal:
        Deployment(**(FIELDS | fields))
    assert message in str(refusal.value)


@pytest.mark.parametrize(
    ("region", "registry"),
    [("us-east1", "us"), ("europe-west4", "europe"), ("asia-east1", "asia"), ("australia-southeast1", "asia")],
)
def test_the_prebuilt_image_comes_from_a_registry_nearby(region, registry):
    assert deployment_request.prebuilt_image(region).startswith(f"{registry}-docker.pkg.dev/")
