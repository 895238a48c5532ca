"""What a chip costs an hour: from the project's price table, or from one that the user gives."""

import importlib.resources
import math
import pathlib
import tomllib
from collections.abc import Mapping
from typing import Any

from trainer.engine import topology
from trainer.errors import UserError

# The table of submissions: one file to correct when prices change.
_TABLE = "submit/tables/prices.toml"
_SECTION = "tpu_chip_hour"


def read(path: str | None = None) -> Mapping[str, float]:
    """Returns US dollars per chip-hour by TPU type.

    Args:
      path: a TOML file with a section `[tpu_chip_hour]`; None for the project's own.

    Raises:
      UserError: when the file is not such a table.
    """
    try:
        text = pathlib.Path(path).read_text() if path else (importlib.resources.files("trainer") / _TABLE).read_text()
        return {name: _price(name, price) for name, price in tomllib.loads(text)[_SECTION].items()}
    except (OSError, KeyError, AttributeError, TypeError, ValueError) as error:
        remedy = f"write a TOML file with a section [{_SECTION}] of lines such as v5e = 1.20"
        raise UserError(f"no table of prices ({error})", where=path or _TABLE, remedy=remedy) from error


def _price(name: str, price: Any) -> float:
    if name not in topology.TPU_TYPES:
        raise ValueError(f"no such TPU type: {name}; known types: {', '.join(topology.TPU_TYPES)}")
    dollars = float(price)
    if not 0 <= dollars < math.inf:
        raise ValueError(f"{name} = {price} is no price")
    return dollars
