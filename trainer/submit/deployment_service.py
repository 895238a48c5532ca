"""Registers and deploys a model on Vertex AI, each step once."""

import dataclasses
import time
from collections.abc import Callable
from typing import Any

from google.api_core import exceptions as api_errors
from google.cloud import aiplatform_v1
from google.cloud.aiplatform_v1.services.endpoint_service import transports as endpoint_transports
from google.cloud.aiplatform_v1.services.model_service import transports as model_transports

from trainer.errors import UserError
from trainer.submit import service, vertex_service
from trainer.submit.calls import CALL_TIMEOUT_SECS, call

POLL_INTERVAL_SECS = 10.0
_MAX_WAIT_SECS = 3600.0


@dataclasses.dataclass(frozen=True)
class DeploymentService:
    """Clients of the two services, and how often a running operation is looked at."""

    models: aiplatform_v1.ModelServiceClient
    endpoints: aiplatform_v1.EndpointServiceClient
    poll_interval_secs: float


def connect(region: str) -> DeploymentService:
    """Returns clients with the user's own credentials (ADC)."""
    address = {"endpoint": vertex_service.endpoint(region), "emulator_variable": vertex_service.EMULATOR_VARIABLE}
    models = service.connect(aiplatform_v1.ModelServiceClient, model_transports.ModelServiceGrpcTransport, **address)
    endpoints = service.connect(
        aiplatform_v1.EndpointServiceClient, endpoint_transports.EndpointServiceGrpcTransport, **address
    )
    return DeploymentService(models, endpoints, POLL_INTERVAL_SECS)


def upload_model(services: DeploymentService, request: aiplatform_v1.UploadModelRequest) -> None:
    """Registers the model and waits until it is there."""
    name = f"{request.parent}/models/{request.model_id}"
    _do_once(
        services,
        "register the model",
        lambda: services.models.upload_model(request, timeout=CALL_TIMEOUT_SECS, retry=None),
        lambda: services.models.get_model(name=name, timeout=CALL_TIMEOUT_SECS, retry=None),
    )


def create_endpoint(services: DeploymentService, request: aiplatform_v1.CreateEndpointRequest) -> None:
    """Creates the endpoint and waits until it is there."""
    name = f"{request.parent}/endpoints/{request.endpoint_id}"
    _do_once(
        services,
        "create the endpoint",
        lambda: services.endpoints.create_endpoint(request, timeout=CALL_TIMEOUT_SECS, retry=None),
        lambda: services.endpoints.get_endpoint(name=name, timeout=CALL_TIMEOUT_SECS, retry=None),
    )


def deploy_model(services: DeploymentService, request: aiplatform_v1.DeployModelRequest) -> None:
    """Deploys the model on the endpoint and waits until it answers there."""

    def look() -> None:
        found = services.endpoints.get_endpoint(name=request.endpoint, timeout=CALL_TIMEOUT_SECS, retry=None)
        if request.deployed_model.id not in {deployed.id for deployed in found.deployed_models}:
            raise api_errors.NotFound("not deployed yet")

    _do_once(
        services,
        "deploy the model",
        lambda: services.endpoints.deploy_model(request, timeout=CALL_TIMEOUT_SECS, retry=None),
        look,
    )


def _do_once(services: DeploymentService, what: str, start: Callable[[], Any], look: Callable[[], Any]) -> None:
    """Starts an operation and waits for its end.

    The ID of what it makes is ours: "already exists" can only come of an earlier try whose answer was lost, and the end
    is then seen by looking for the thing itself.
    """

    def start_unless_started() -> Any:
        try:
            return start()
        except api_errors.AlreadyExists:
            return None

    operation = call(what, start_unless_started)
    if operation is None:
        _wait(services, what, lambda: call(what, lambda: _exists(look)))
    else:
        _wait(services, what, lambda: call(what, operation.done))
        call(what, lambda: operation.result(timeout=CALL_TIMEOUT_SECS))


def _exists(look: Callable[[], Any]) -> bool:
    try:
        look()
    except api_errors.NotFound:
        return False
    return True


def _wait(services: DeploymentService, what: str, is_done: Callable[[], bool]) -> None:
    deadline_secs = time.monotonic() + _MAX_WAIT_SECS
    while not is_done():
        if time.monotonic() > deadline_secs:
            raise UserError(f"is not done after {_MAX_WAIT_SECS / 60:g} minutes", where=what, remedy="see the console")
        time.sleep(services.poll_interval_secs)
