"""`tpu-images deploy vertex`: puts an exported model into the Model Registry and on an endpoint of Vertex AI."""

import argparse
from typing import Any

from trainer.errors import UserError
from trainer.submit import (
    catalogue,
    checks,
    deployment_request,
    deployment_service,
    forecast,
    hardware,
    request_text,
    storage,
    vertex_service,
)
from trainer.submit.deployment_request import Deployment


def run(flags: argparse.Namespace, settings: dict[str, Any]) -> int:
    """Deploys a model, or shows what would be sent; returns the exit status.

    Raises:
      UserError: when there is no such export, or a setting of the training is given.
    """
    if settings:
        remedy = "leave it out: an export has the settings it was trained with"
        raise UserError("is no flag of deploy", where=f"--{next(iter(settings))}", remedy=remedy)
    checks.require_project(flags.project)
    checks.require_cloud_path(flags.export_dir, "--export_dir")
    deployment = _deployment(flags)
    tables = catalogue.load(flags.tables)
    machine = hardware.vertex_machine(tables, flags.machine_type, region=flags.region, gpu=flags.gpu)
    notes = [
        f"machine: {machine.describe()}",
        *forecast.serving_cost_lines(machine, tables.prices, num_machines=deployment.min_replicas),
        f"serves with: {deployment.serving_image or deployment_request.prebuilt_image(deployment.region)}",
    ]
    if flags.dry_run:
        print(request_text.render(_requests(deployment, machine), notes, form=flags.format))
        return 0
    print(*notes, sep="\n")
    _deploy(deployment, machine)
    return 0


def _deployment(flags: argparse.Namespace) -> Deployment:
    return Deployment(
        project=flags.project,
        region=flags.region,
        name=flags.name,
        export_dir=flags.export_dir.rstrip("/"),
        serving_image=flags.serving_image,
        endpoint=flags.endpoint,
        min_replicas=flags.min_replicas,
        max_replicas=flags.max_replicas,
        service_account=flags.service_account,
        labels=checks.parse_labels(flags.label),
    )


def _requests(deployment: Deployment, machine: hardware.Hardware) -> list[request_text.Request]:
    host = f"https://{vertex_service.endpoint(deployment.region)}/v1"
    upload = deployment_request.upload_model(deployment)
    deploy = deployment_request.deploy_model(deployment, machine)
    requests = [request_text.Request(f"POST {host}/{deployment.parent}/models:upload", upload)]
    if not deployment.endpoint:
        create = deployment_request.create_endpoint(deployment)
        requests.append(request_text.Request(f"POST {host}/{deployment.parent}/endpoints", create))
    return [*requests, request_text.Request(f"POST {host}/{deployment.endpoint_name}:deployModel", deploy)]


def _deploy(deployment: Deployment, machine: hardware.Hardware) -> None:
    saved_model = storage.join(deployment.export_dir, "saved_model.pb")
    if storage.read_bytes(storage.connect(deployment.project), saved_model) is None:
        raise UserError(
            "there is no export", where=saved_model, remedy="make one: tpu-images export --model_dir=gs://..."
        )
    services = deployment_service.connect(deployment.region)
    deployment_service.upload_model(services, deployment_request.upload_model(deployment))
    print(f"model:    {deployment.model_name}")
    if not deployment.endpoint:
        deployment_service.create_endpoint(services, deployment_request.create_endpoint(deployment))
    print(f"endpoint: {deployment.endpoint_name}; deploying takes 10 to 20 minutes", flush=True)
    deployment_service.deploy_model(services, deployment_request.deploy_model(deployment, machine))
    host = vertex_service.endpoint(deployment.region)
    print(f"answers at https://{host}/v1/{deployment.endpoint_name}:predict")
