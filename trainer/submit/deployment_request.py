"""Builds what puts an exported model on the web: registered model, endpoint, and deployment of the one on the other.

Reference: https://cloud.google.com/vertex-ai/docs/reference/rest/v1/projects.locations.models/upload
"""

import dataclasses
import posixpath
import re
import uuid
from collections.abc import Mapping

from google.cloud import aiplatform_v1

from trainer.errors import UserError
from trainer.submit.hardware import Hardware

_NAME = re.compile(r"[a-z]([a-z0-9-]{0,40}[a-z0-9])?")
_REST_PORT = 8501
_MODEL_NAME = "classifier"


@dataclasses.dataclass(frozen=True)
class Deployment:
    """One exported model on its way to an endpoint; raises UserError when it makes no sense.

    `export_dir` is `gs://.../VERSION`, with `saved_model.pb` in it. `serving_image` is a TensorFlow Serving image in
    Artifact Registry, or empty for the prebuilt container of Vertex AI. `endpoint` is the name or the ID of one that
    exists, or empty. The random `submission` is part of every new resource's ID, which makes it safe to ask again after
    a lost answer.
    """

    project: str
    region: str
    name: str
    export_dir: str
    serving_image: str = ""
    endpoint: str = ""
    min_replicas: int = 1
    max_replicas: int = 1
    service_account: str = ""
    labels: Mapping[str, str] = dataclasses.field(default_factory=dict)
    submission: str = dataclasses.field(default_factory=lambda: str(uuid.uuid4().int % 10**9).zfill(9))

    def __post_init__(self):
        if not _NAME.fullmatch(self.name):
            remedy = "write lower-case letters, digits and -, at most 42, a letter first"
            raise UserError("not a name for a model", where=f"--name={self.name}", remedy=remedy)
        if not posixpath.basename(self.export_dir).isdigit():
            remedy = "name the version too: gs://.../export/VERSION, the directory with saved_model.pb"
            raise UserError("is no version of an export", where=f"--export_dir={self.export_dir}", remedy=remedy)
        if not 1 <= self.min_replicas <= self.max_replicas:
            remedy = "give 1 <= --min_replicas <= --max_replicas"
            raise UserError("out of range", where=f"--min_replicas={self.min_replicas}", remedy=remedy)

    @property
    def parent(self) -> str:
        """The resource name under which models and endpoints are."""
        return f"projects/{self.project}/locations/{self.region}"

    @property
    def resource_id(self) -> str:
        """The ID of the new model, and of the new endpoint if there is one."""
        return f"{self.name}-{self.submission}"

    @property
    def model_name(self) -> str:
        """The full name that the model gets."""
        return f"{self.parent}/models/{self.resource_id}"

    @property
    def endpoint_name(self) -> str:
        """The full name of the endpoint, new or existing."""
        if "/" in self.endpoint:
            return self.endpoint
        return f"{self.parent}/endpoints/{self.endpoint or self.resource_id}"


def upload_model(deployment: Deployment) -> aiplatform_v1.UploadModelRequest:
    """Returns the request that registers the export."""
    serving = _tensorflow_serving(deployment) if deployment.serving_image else _prebuilt(deployment)
    artifact_uri = posixpath.dirname(deployment.export_dir) if deployment.serving_image else deployment.export_dir
    model = aiplatform_v1.Model(
        display_name=deployment.name,
        artifact_uri=artifact_uri,
        container_spec=serving,
        labels=dict(deployment.labels),
    )
    return aiplatform_v1.UploadModelRequest(
        parent=deployment.parent,
        model_id=deployment.resource_id,
        model=model,
        service_account=deployment.service_account,
    )


def create_endpoint(deployment: Deployment) -> aiplatform_v1.CreateEndpointRequest:
    """Returns the request for a new endpoint."""
    return aiplatform_v1.CreateEndpointRequest(
        parent=deployment.parent,
        endpoint_id=deployment.resource_id,
        endpoint=aiplatform_v1.Endpoint(display_name=deployment.name, labels=dict(deployment.labels)),
    )


def deploy_model(deployment: Deployment, machine: Hardware) -> aiplatform_v1.DeployModelRequest:
    """Returns the request that makes the model answer on the endpoint, with all of its traffic."""
    resources = aiplatform_v1.DedicatedResources(
        machine_spec=aiplatform_v1.MachineSpec(
            machine_type=machine.machine_type,
            accelerator_type=machine.accelerator_type or aiplatform_v1.AcceleratorType.ACCELERATOR_TYPE_UNSPECIFIED,
            accelerator_count=machine.accelerator_count,
        ),
        min_replica_count=deployment.min_replicas,
        max_replica_count=deployment.max_replicas,
    )
    deployed = aiplatform_v1.DeployedModel(
        id=deployment.submission,
        model=deployment.model_name,
        display_name=deployment.name,
        dedicated_resources=resources,
        service_account=deployment.service_account,
    )
    # "0" stands for the model that is being deployed.
    return aiplatform_v1.DeployModelRequest(
        endpoint=deployment.endpoint_name, deployed_model=deployed, traffic_split={"0": 100}
    )


def prebuilt_image(region: str) -> str:
    """Returns the newest prebuilt TensorFlow container for prediction, from the registry near `region`."""
    continent = {"europe": "europe", "asia": "asia", "australia": "asia"}.get(region.partition("-")[0], "us")
    return f"{continent}-docker.pkg.dev/vertex-ai/prediction/tf2-cpu.2-15:latest"


def _prebuilt(deployment: Deployment) -> aiplatform_v1.ModelContainerSpec:
    return aiplatform_v1.ModelContainerSpec(image_uri=prebuilt_image(deployment.region))


def _tensorflow_serving(deployment: Deployment) -> aiplatform_v1.ModelContainerSpec:
    # Vertex AI copies the artefacts and puts the copy's address into AIP_STORAGE_URI, where the server finds versions.
    return aiplatform_v1.ModelContainerSpec(
        image_uri=deployment.serving_image,
        command=["/usr/bin/tensorflow_model_server"],
        args=[
            f"--rest_api_port={_REST_PORT}",
            f"--model_name={_MODEL_NAME}",
            "--model_base_path=$(AIP_STORAGE_URI)",
        ],
        ports=[aiplatform_v1.Port(container_port=_REST_PORT)],
        predict_route=f"/v1/models/{_MODEL_NAME}:predict",
        health_route=f"/v1/models/{_MODEL_NAME}",
    )
