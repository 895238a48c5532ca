"""A local Vertex AI for models and endpoints: ModelService, EndpointService and operations by their published stubs."""

import contextlib
import itertools
from collections.abc import Iterator
from typing import Any

from google.cloud import aiplatform_v1 as v1
from google.longrunning import operations_pb2
from google.protobuf import any_pb2

from tests.trainer.submit import cloud_servers
from tests.trainer.submit.cloud_servers import AlreadyExistsError, Faults, Method, NotFoundError


class DeploymentServer:
    """Keeps models and endpoints; every operation is done at the second look."""

    def __init__(self, error: str = ""):
        self.models: dict[str, v1.Model] = {}
        self.endpoints: dict[str, v1.Endpoint] = {}
        self.calls: list[tuple[str, Any]] = []
        self.address = ""
        self._error = error
        self._running: dict[str, operations_pb2.Operation] = {}
        self._numbers = itertools.count(1)

    @contextlib.contextmanager
    def serve(self, faults: Faults) -> Iterator["DeploymentServer"]:
        """Serves until the end of the block."""
        operation = operations_pb2.Operation
        services = {
            "ModelService": {
                "UploadModel": Method(v1.UploadModelRequest, operation, self._upload_model),
                "GetModel": Method(v1.GetModelRequest, v1.Model, lambda request: _get(self.models, request.name)),
            },
            "EndpointService": {
                "CreateEndpoint": Method(v1.CreateEndpointRequest, operation, self._create_endpoint),
                "GetEndpoint": Method(
                    v1.GetEndpointRequest, v1.Endpoint, lambda request: _get(self.endpoints, request.name)
                ),
                "DeployModel": Method(v1.DeployModelRequest, operation, self._deploy_model),
            },
        }
        paths = {
            f"/google.cloud.aiplatform.v1.{service}/{name}": method
            for service, methods in services.items()
            for name, method in methods.items()
        }
        paths["/google.longrunning.Operations/GetOperation"] = Method(
            operations_pb2.GetOperationRequest, operation, lambda request: _get(self._running, request.name)
        )
        with cloud_servers.grpc_server(paths, faults) as (self.address, self.calls):
            yield self

    def _upload_model(self, request: Any) -> operations_pb2.Operation:
        name = f"{request.parent}/models/{request.model_id}"
        _add(self.models, name, request.model)
        return self._start(v1.UploadModelResponse(model=name))

    def _create_endpoint(self, request: Any) -> operations_pb2.Operation:
        name = f"{request.parent}/endpoints/{request.endpoint_id}"
        _add(self.endpoints, name, v1.Endpoint(request.endpoint, name=name))
        return self._start(request.endpoint)

    def _deploy_model(self, request: Any) -> operations_pb2.Operation:
        endpoint = _get(self.endpoints, request.endpoint)
        _get(self.models, request.deployed_model.model)
        if request.deployed_model.id in {deployed.id for deployed in endpoint.deployed_models}:
            raise AlreadyExistsError(request.deployed_model.id)
        endpoint.deployed_models.append(request.deployed_model)
        return self._start(v1.DeployModelResponse(deployed_model=request.deployed_model))

    def _start(self, reply: Any) -> operations_pb2.Operation:
        name = f"projects/p/locations/us-central1/operations/{next(self._numbers)}"
        finished = operations_pb2.Operation(name=name, done=True)
        if self._error:
            finished.error.code = 3
            finished.error.message = self._error
        else:
            packed = any_pb2.Any()
            packed.Pack(type(reply).pb(reply))
            finished.response.CopyFrom(packed)
        self._running[name] = finished
        return operations_pb2.Operation(name=name)


def _get(things: dict[str, Any], name: str) -> Any:
    if name not in things:
        raise NotFoundError(name)
    return things[name]


def _add(things: dict[str, Any], name: str, thing: Any) -> None:
    if name in things:
        raise AlreadyExistsError(name)
    things[name] = thing
