"""Which cases of a test are slow."""

from collections.abc import Iterable

import pytest


def slow_but(names: Iterable[str], *fast: str) -> list:
    """Returns the names as parameters, all but `fast` marked slow: the fast subset then sees each kind of case once."""
    names = list(names)
    assert set(fast) <= set(names)
    return [name if name in fast else pytest.param(name, marks=pytest.mark.slow) for name in names]
