"""Shows a request before it is sent: the exact message as YAML or JSON, with what people want to know as comments."""

import json
from collections.abc import Iterable

import proto
import yaml
from google.protobuf import json_format


def as_json(message: proto.Message) -> dict:
    """Returns the message in the form of the REST interface (camelCase keys, names of enumerations)."""
    return json_format.MessageToDict(type(message).pb(message))


def render(method: str, message: proto.Message, notes: Iterable[str], *, form: str) -> str:
    """Returns the text of a dry run.

    Args:
      method: what would be called, such as `POST https://.../customJobs`.
      message: the request's body.
      notes: lines for people. YAML carries them as comments, JSON under the key `notes`.
      form: `yaml` or `json`.
    """
    if form == "json":
        return json.dumps({"method": method, "request": as_json(message), "notes": list(notes)}, indent=2)
    comments = "\n".join(f"# {note}".rstrip() for note in notes)
    body = yaml.dump(as_json(message), Dumper=_BlockDumper, sort_keys=False, width=120)
    return f"# {method}\n{body}{comments}"


class _BlockDumper(yaml.SafeDumper):
    """Writes text of several lines as a block, as people would."""


def _represent_text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_BlockDumper.add_representer(str, _represent_text)
