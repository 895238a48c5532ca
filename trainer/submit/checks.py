"""Refusals that several commands share: what cannot work is told before anything is packed or sent."""

import re
from collections.abc import Sequence

from trainer.errors import UserError

_LABEL = re.compile(r"[a-z][a-z0-9_-]{0,62}=[a-z0-9_-]{0,63}")


def require_project(project: str) -> None:
    """Refuses a request without a project to pay for it."""
    if not project:
        raise UserError("is needed", where="--project", remedy="give it, or set GOOGLE_CLOUD_PROJECT")


def require_cloud_path(path: str, flag: str) -> None:
    """Refuses a path that a machine in the cloud cannot reach."""
    bucket = path.removeprefix("gs://").partition("/")[0]
    if not path.startswith("gs://") or not bucket:
        remedy = "write gs://BUCKET/..., and copy local files there with: gcloud storage cp -r"
        raise UserError("the cloud cannot reach it", where=f"{flag}={path}", remedy=remedy)


def parse_labels(words: Sequence[str]) -> dict[str, str]:
    """Parses `key=value` labels; UserError when the cloud would refuse one."""
    labels = {}
    for word in words:
        if not _LABEL.fullmatch(word):
            remedy = "write key=value in lower-case letters, digits, - and _, at most 63 each"
            raise UserError("not a label", where=f"--label={word}", remedy=remedy)
        key, _, value = word.partition("=")
        labels[key] = value
    return labels
