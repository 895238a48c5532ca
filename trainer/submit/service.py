"""Connects to a Google API, or to a local server that speaks it."""

import os
from typing import Any

import grpc

from trainer.submit.calls import call


def connect(client_class: Any, transport_class: Any, *, endpoint: str, emulator_variable: str) -> Any:
    """Returns a client of `endpoint` with the user's own credentials (ADC).

    When the environment variable `emulator_variable` is set to `host:port`, the client speaks to that server instead,
    without encryption or credentials.
    """
    emulator = os.environ.get(emulator_variable)
    if emulator:
        return client_class(transport=transport_class(channel=grpc.insecure_channel(emulator)))
    return call(endpoint, lambda: client_class(client_options={"api_endpoint": endpoint}))
