"""A local Cloud TPU service by its published stub: queued resources in memory, which run as a script says."""

import contextlib
import json
from collections.abc import Callable, Iterator
from typing import Any

from google.cloud import tpu_v2
from google.longrunning import operations_pb2

from tests.trainer.submit import cloud_servers
from tests.trainer.submit.cloud_servers import AlreadyExistsError, Faults, Method, NotFoundError

STATES = tpu_v2.QueuedResourceState.State
Machine = Callable[[str], Any]  # takes the outcome's address; returns the next state


class TpuServer:
    """At each look, the machine of the current attempt does its next step: `machines` holds one list of steps each.

    A step is a state, or a function that acts as the machine would and returns a state.
    """

    def __init__(self, *machines: list[Any]):
        self.resources: dict[str, tpu_v2.QueuedResource] = {}
        self.created: list[tpu_v2.CreateQueuedResourceRequest] = []
        self.address = ""
        self._machines = list(machines)

    @contextlib.contextmanager
    def serve(self, faults: Faults) -> Iterator["TpuServer"]:
        """Serves until the end of the block."""
        operation = operations_pb2.Operation
        methods = {
            "CreateQueuedResource": Method(tpu_v2.CreateQueuedResourceRequest, operation, self._create),
            "GetQueuedResource": Method(tpu_v2.GetQueuedResourceRequest, tpu_v2.QueuedResource, self._get),
            "DeleteQueuedResource": Method(tpu_v2.DeleteQueuedResourceRequest, operation, self._delete),
        }
        paths = {f"/google.cloud.tpu.v2.Tpu/{name}": method for name, method in methods.items()}
        with cloud_servers.grpc_server(paths, faults) as (self.address, _):
            yield self

    def _create(self, request: Any) -> operations_pb2.Operation:
        name = f"{request.parent}/queuedResources/{request.queued_resource_id}"
        if name in self.resources:
            raise AlreadyExistsError(name)
        self.created.append(request)
        self.resources[name] = tpu_v2.QueuedResource(name=name, state={"state": STATES.WAITING_FOR_RESOURCES})
        return operations_pb2.Operation(name="operations/create")

    def _get(self, request: Any) -> tpu_v2.QueuedResource:
        if request.name not in self.resources:
            raise NotFoundError(request.name)
        steps = self._machines[len(self.created) - 1]
        step = steps.pop(0) if len(steps) > 1 else steps[0]
        state = step() if callable(step) else step
        if state is None:
            del self.resources[request.name]
            raise NotFoundError(request.name)
        if isinstance(state, str):
            failure = tpu_v2.QueuedResourceState.FailedData(error={"message": state})
            reached = tpu_v2.QueuedResourceState(state=STATES.FAILED, failed_data=failure)
        else:
            reached = tpu_v2.QueuedResourceState(state=state)
        self.resources[request.name].state = reached
        return self.resources[request.name]

    def _delete(self, request: Any) -> operations_pb2.Operation:
        if request.name not in self.resources:
            raise NotFoundError(request.name)
        assert request.force
        del self.resources[request.name]
        return operations_pb2.Operation(name="operations/delete")


def outcome_text(exit_status: int, stop_reason: str = "") -> str:
    """Returns what a machine writes when its trainer has ended."""
    return json.dumps({"exit_status": exit_status, "stop_reason": stop_reason})
