"""Shows a request before it is sent: the exact message as YAML or JSON, with what people want to know as comments."""

import dataclasses
import json
from collections.abc import Sequence

import proto
import yaml
from google.protobuf import json_format


def as_json(message: proto.Message) -> dict:
    """Returns the message in the form of the REST interface (camelCase keys, names of enumerations)."""
    return json_format.MessageToDict(type(message).pb(message))


@dataclasses.dataclass(frozen=True)
class Request:
    """What would be sent: `method` such as `POST https://.../customJobs`, and the body."""

    method: str
    message: proto.Message


def render(requests: Sequence[Request], notes: Sequence[str], *, form: str) -> str:
    """Returns the text of a dry run.

    Args:
      requests: in the order in which they would be sent; in YAML each is a document.
      notes: lines for people. YAML carries them as comments, JSON under the key `notes`.
      form: `yaml` or `json`.
    """
    if form == "json":
        bodies = [{"method": request.method, "body": as_json(request.message)} for request in requests]
        return json.dumps({"requests": bodies, "notes": list(notes)}, indent=2)
    documents = "---\n".join(f"# {request.method}\n{_to_yaml(request.message)}" for request in requests)
    return documents + "\n".join(f"# {note}".rstrip() for note in notes)


def _to_yaml(message: proto.Message) -> str:
    return yaml.dump(as_json(message), Dumper=_BlockDumper, sort_keys=False, width=120)


class _BlockDumper(yaml.SafeDumper):
    """Writes text of several lines as a block, as people would."""


def _represent_text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_BlockDumper.add_representer(str, _represent_text)
