"""The estimator works eagerly, whatever the program that calls it has switched on or off."""

import functools
from collections.abc import Callable, Iterator
from typing import Any, ParamSpec, TypeVar

from tensorflow.python.eager import context

_P = ParamSpec("_P")
_T = TypeVar("_T")


def eagerly(function: Callable[_P, _T]) -> Callable[_P, _T]:
    """Makes a function execute eagerly, even inside a graph or after `disable_eager_execution()`."""

    @functools.wraps(function)
    def wrapped(*args: _P.args, **kwargs: _P.kwargs) -> _T:
        with context.eager_mode():
            return function(*args, **kwargs)

    return wrapped


def eager_iterator(iterator: Iterator[Any]) -> Iterator[Any]:
    """Yields from an iterator that works eagerly; the consumer's own mode is back between elements."""
    while True:
        with context.eager_mode():
            try:
                element = next(iterator)
            except StopIteration:
                return
        yield element
