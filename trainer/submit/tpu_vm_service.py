"""Asks Cloud TPU for a machine, again and again until the training on it has come to its end.

A spot TPU can be taken away at any time, and is then neither restarted nor queued again by the cloud: the request is
deleted and made anew, and the trainer goes on from its last checkpoint.
"""

import contextlib
import dataclasses
import json
import time
from collections.abc import Callable
from typing import NoReturn

from google.api_core import exceptions as api_errors
from google.cloud import storage as storage_client  # type: ignore[attr-defined]
from google.cloud import tpu_v2
from google.cloud.tpu_v2.services.tpu import transports

from trainer.errors import UserError
from trainer.submit import service, storage
from trainer.submit.calls import CALL_TIMEOUT_SECS, call
from trainer.submit.tpu_vm_request import TpuVmOptions

ENDPOINT = "tpu.googleapis.com"
_MAX_SILENT_MACHINES = 3
EMULATOR_VARIABLE = "TPU_EMULATOR_HOST"
_State = tpu_v2.QueuedResourceState.State
# None: there is no such resource any more.
_ENDED = frozenset({None, _State.SUSPENDING, _State.SUSPENDED})


@dataclasses.dataclass(frozen=True)
class Outcome:
    """How the trainer ended; `stop_reason` is empty when it ended by itself."""

    exit_status: int
    stop_reason: str

    @property
    def is_interrupted(self) -> bool:
        """True when there is something left to train, on another machine."""
        return self.exit_status != 0 and bool(self.stop_reason) and self.stop_reason != "out of time"


@dataclasses.dataclass(frozen=True)
class TpuVmService:
    """The two services that a run needs, and how often they are looked at."""

    tpu: tpu_v2.TpuClient
    storage: storage_client.Client
    poll_interval_secs: float = 20.0


def connect(project: str) -> TpuVmService:
    """Returns clients with the user's own credentials (ADC)."""
    tpu = service.connect(
        tpu_v2.TpuClient, transports.TpuGrpcTransport, endpoint=ENDPOINT, emulator_variable=EMULATOR_VARIABLE
    )
    return TpuVmService(tpu, storage.connect(project))


def run_until_done(
    services: TpuVmService, request: tpu_v2.QueuedResource, options: TpuVmOptions, report: Callable[[str], None]
) -> Outcome:
    """Keeps a TPU queued or running until the trainer ends by itself; returns how it ended, with the TPU deleted.

    A queued resource of this name that exists is taken over, and so is an outcome that nobody has read: the same
    command goes on following after an interruption.

    Raises:
      UserError: when the cloud refuses the request, or gives it up, or several machines in a row end without a word:
        one that may not write to Cloud Storage would be asked for, and paid, for ever.
    """
    num_silent = 0
    while True:
        if _get(services, options) is None:
            outcome = _take_outcome(services, options)
            if outcome is not None and not outcome.is_interrupted:
                return outcome
            _create(services, request, options)
            report(f"asked for {options.resource_name}")
        _wait_for_end(services, options, report)
        _delete(services, options)
        outcome = _take_outcome(services, options)
        if outcome is not None and not outcome.is_interrupted:
            return outcome
        is_silent = outcome is None and storage.read_bytes(services.storage, options.log_uri) is None
        num_silent = num_silent + 1 if is_silent else 0
        if num_silent == _MAX_SILENT_MACHINES:
            raise UserError(
                f"{num_silent} TPUs in a row ended without a log or an outcome",
                where=options.resource_name,
                remedy="grant --service_account the roles in docs/cloud.md, or look at the serial port in the console",
            )
        report(f"interrupted ({outcome.stop_reason if outcome else 'the TPU was taken away'}): asking for another TPU")


def _wait_for_end(services: TpuVmService, options: TpuVmOptions, report: Callable[[str], None]) -> None:
    last_state = None
    num_shown_bytes = 0
    while True:
        resource = _get(services, options)
        state = resource.state.state if resource else None
        if state != last_state:
            report(state.name.lower().replace("_", " ") if state else "deleted")
            last_state = state
        if resource is not None and state == _State.FAILED:
            _give_up(services, options, resource)
        is_over = state in _ENDED or storage.read_bytes(services.storage, options.outcome_uri) is not None
        # After the look at the outcome, which the machine writes after the last of its log.
        num_shown_bytes = _show_log(services, options, report, num_shown_bytes)
        if is_over:
            return
        time.sleep(services.poll_interval_secs)


def _show_log(
    services: TpuVmService, options: TpuVmOptions, report: Callable[[str], None], num_shown_bytes: int
) -> int:
    log = storage.read_bytes(services.storage, options.log_uri) or b""
    for line in log[num_shown_bytes:].decode(errors="replace").splitlines():
        report(f"  {line}")
    return max(num_shown_bytes, len(log))


def _give_up(services: TpuVmService, options: TpuVmOptions, resource: tpu_v2.QueuedResource) -> NoReturn:
    _delete(services, options)
    reason = resource.state.failed_data.error.message or "no reason is given"
    raise UserError(
        f"the cloud could not provide it ({reason})", where=options.resource_name, remedy="try another zone"
    )


def _get(services: TpuVmService, options: TpuVmOptions) -> tpu_v2.QueuedResource | None:
    return call("look at the queued resource", lambda: _get_once(services, options))


def _get_once(services: TpuVmService, options: TpuVmOptions) -> tpu_v2.QueuedResource | None:
    try:
        return services.tpu.get_queued_resource(name=options.resource_name, timeout=CALL_TIMEOUT_SECS, retry=None)
    except api_errors.NotFound:
        return None


def _create(services: TpuVmService, request: tpu_v2.QueuedResource, options: TpuVmOptions) -> None:
    # The log of an earlier machine would be shown as if it were this one's.
    storage.delete(services.storage, options.log_uri)
    message = tpu_v2.CreateQueuedResourceRequest(
        parent=options.parent, queued_resource_id=options.name, queued_resource=request
    )
    call(
        "ask for a TPU",
        lambda: services.tpu.create_queued_resource(message, timeout=CALL_TIMEOUT_SECS, retry=None),
        already_done=lambda: _get_once(services, options),
    )


def _delete(services: TpuVmService, options: TpuVmOptions) -> None:
    """Deletes the queued resource with its node, and waits until the name is free again."""
    message = tpu_v2.DeleteQueuedResourceRequest(name=options.resource_name, force=True)

    def delete_once() -> None:
        # Gone already, or on its way: the machine deletes itself at its end.
        with contextlib.suppress(api_errors.NotFound, api_errors.FailedPrecondition):
            services.tpu.delete_queued_resource(message, timeout=CALL_TIMEOUT_SECS, retry=None)

    call("delete the TPU", delete_once)
    while _get(services, options) is not None:
        time.sleep(services.poll_interval_secs)


def _take_outcome(services: TpuVmService, options: TpuVmOptions) -> Outcome | None:
    content = storage.read_bytes(services.storage, options.outcome_uri)
    if content is None:
        return None
    outcome = Outcome(**json.loads(content))
    storage.delete(services.storage, options.outcome_uri)
    return outcome
