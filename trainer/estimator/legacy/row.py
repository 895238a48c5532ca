"""A row of the table of names."""

import dataclasses
from collections.abc import Mapping


@dataclasses.dataclass(frozen=True)
class Row:
    """What a module holds.

    Fields:
      names: by name, `"module:attribute.path"`, or `"module"` for a module.
      rest: the module that has the other names; empty if there are none.
    """

    names: Mapping[str, str] = dataclasses.field(default_factory=dict)
    rest: str = ""


def of(module: str, *names: str) -> dict[str, str]:
    """Returns these names of a module, each by itself."""
    return {name: f"{module}:{name}" for name in names}
