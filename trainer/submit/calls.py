"""The one way in which the cloud is called: a few tries, then an error that says what to do."""

import random
import time
from collections.abc import Callable
from typing import TypeVar

import requests
from google.api_core import exceptions as api_errors
from google.auth import exceptions as auth_errors

from trainer.errors import UserError

NUM_TRIES = 4
CALL_TIMEOUT_SECS = 60.0
FIRST_DELAY_SECS = 0.5
# Too many requests: the cloud did nothing. After any of the others it may have done what was asked.
REFUSED = (api_errors.TooManyRequests,)
TRANSIENT = (
    *REFUSED,
    api_errors.InternalServerError,
    api_errors.BadGateway,
    api_errors.ServiceUnavailable,
    api_errors.GatewayTimeout,
    auth_errors.TransportError,
    requests.ConnectionError,
    requests.Timeout,
    ConnectionError,
)
_REMEDIES = {
    401: "run: gcloud auth application-default login",
    403: "grant the missing role (docs/cloud.md lists the roles of each step), or check --project",
    404: "check --project, the region and the name",
    429: "wait, or ask for more quota: https://console.cloud.google.com/iam-admin/quotas",
}

Result = TypeVar("Result")


def call(
    what: str, function: Callable[[], Result], *, already_done: Callable[[], Result | None] | None = None
) -> Result:
    """Returns `function()`, tried up to four times when the cloud is busy or the connection breaks.

    Args:
      what: the call as people name it, for the error.
      function: does one try.
      already_done: for a call that must not happen twice: looks whether a try whose answer was lost has had its effect;
        returns what that try would have returned, or None.

    Raises:
      UserError: when credentials are missing, the cloud refuses, or the last try fails too.
    """
    is_answer_lost = False
    for attempt in range(NUM_TRIES):
        try:
            found = already_done() if already_done and is_answer_lost else None
            return function() if found is None else found
        except TRANSIENT as error:
            if attempt == NUM_TRIES - 1:
                raise _to_user_error(what, error, f"{NUM_TRIES} tries failed: ") from error
            is_answer_lost = is_answer_lost or not isinstance(error, REFUSED)
            _pause(attempt)
        except (api_errors.GoogleAPICallError, auth_errors.GoogleAuthError) as error:
            raise _to_user_error(what, error, "") from error
    raise AssertionError("unreachable")


def _pause(attempt: int) -> None:
    # Jitter, so that many clients that were turned away together do not come back together.
    time.sleep(FIRST_DELAY_SECS * 2**attempt * random.uniform(0.5, 1.0))  # noqa: S311


def _to_user_error(what: str, error: Exception, prefix: str) -> UserError:
    if isinstance(error, auth_errors.DefaultCredentialsError):
        return UserError("found no credentials", where=what, remedy=_REMEDIES[401])
    code = int(getattr(error, "code", None) or 0)
    message = getattr(error, "message", None) or str(error) or type(error).__name__
    return UserError(f"{prefix}{message}", where=what, remedy=_REMEDIES.get(code, ""))
