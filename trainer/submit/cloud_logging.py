"""Reads what a job prints, from Cloud Logging.

Reference: https://cloud.google.com/logging/docs/reference/v2/rest/v2/entries/list
"""

import os
from collections.abc import Sequence
from typing import Any

import google.auth
import requests
from google.api_core import exceptions as api_errors
from google.auth.transport.requests import AuthorizedSession

from trainer.submit.calls import CALL_TIMEOUT_SECS, call

EMULATOR_VARIABLE = "LOGGING_EMULATOR_HOST"
_SCOPES = ("https://www.googleapis.com/auth/logging.read",)
_PAGE_SIZE = 500


class JobLog:
    """The log of one Vertex AI job; each entry is handed out once."""

    def __init__(self, project: str, job_id: str):
        self._project = project
        self._filter = f'resource.type="ml_job" resource.labels.job_id="{job_id}"'
        self._newest_time = ""
        self._ids_at_newest_time: set[str] = set()
        self._session: requests.Session | None = None

    def new_lines(self) -> Sequence[str]:
        """Returns the lines that came since the last call, oldest first; UserError when the log may not be read."""
        lines = []
        for entry in call("read the job's log", self._list_entries):
            timestamp, identifier = entry["timestamp"], entry["insertId"]
            if timestamp == self._newest_time and identifier in self._ids_at_newest_time:
                continue
            if timestamp != self._newest_time:
                self._newest_time = timestamp
                self._ids_at_newest_time = set()
            self._ids_at_newest_time.add(identifier)
            lines.append(_text(entry))
        return lines

    def _list_entries(self) -> list[dict[str, Any]]:
        if self._session is None:
            self._session = _connect()
        since = f' timestamp>="{self._newest_time}"' if self._newest_time else ""
        body: Any = {
            "resourceNames": [f"projects/{self._project}"],
            "filter": self._filter + since,
            "orderBy": "timestamp asc",
            "pageSize": _PAGE_SIZE,
        }
        host = os.environ.get(EMULATOR_VARIABLE, "https://logging.googleapis.com")
        reply = self._session.post(f"{host}/v2/entries:list", json=body, timeout=CALL_TIMEOUT_SECS)
        if not reply.ok:
            raise api_errors.from_http_response(reply)
        return reply.json().get("entries", [])


def _connect() -> requests.Session:
    if EMULATOR_VARIABLE in os.environ:
        return requests.Session()
    credentials, _ = google.auth.default(scopes=_SCOPES)
    return AuthorizedSession(credentials)


def _text(entry: dict[str, Any]) -> str:
    text = entry.get("textPayload") or entry.get("jsonPayload", {}).get("message", "")
    return text.rstrip("\n")
