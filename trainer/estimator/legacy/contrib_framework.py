"""`tf.contrib.framework`: defaults of functions for a block of a program, and variables by scope."""

import contextlib
import contextvars
import functools
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import tensorflow as tf

_Scope = Mapping[Callable[..., Any], Mapping[str, Any]]
_CURRENT: contextvars.ContextVar[_Scope] = contextvars.ContextVar("arg_scope", default={})  # noqa: B039 - never changed


def add_arg_scope(function: Callable[..., Any]) -> Callable[..., Any]:
    """Returns the function with defaults that `arg_scope` gives it."""

    @functools.wraps(function)
    def with_defaults(*args: Any, **kwargs: Any) -> Any:
        return function(*args, **{**_CURRENT.get().get(function, {}), **kwargs})

    # An attribute goes along when another decorator wraps this in turn.
    with_defaults.takes_defaults_of = function  # type: ignore[attr-defined]
    return with_defaults


@contextlib.contextmanager
def arg_scope(functions: Iterable[Callable[..., Any]] | _Scope, **defaults: Any) -> Iterator[_Scope]:
    """Gives functions defaults inside the `with` block.

    Args:
      functions: functions made by `add_arg_scope`, or what another `with arg_scope(...) as scope` gave.
      defaults: by name of the argument; an inner block overrides an outer one.

    Raises:
      ValueError: a function was not made by `add_arg_scope`, or a scope comes with defaults.
    """
    token = _CURRENT.set(_scope_of(functions, defaults))
    try:
        yield _CURRENT.get()
    finally:
        _CURRENT.reset(token)


def has_arg_scope(function: Callable[..., Any]) -> bool:
    """Returns whether `arg_scope` can give a function defaults."""
    return hasattr(function, "takes_defaults_of")


def get_variables(
    scope: str | None = None, suffix: str | None = None, collection: str = tf.compat.v1.GraphKeys.GLOBAL_VARIABLES
) -> list[tf.Variable]:
    """Returns the variables of a collection whose name starts with `scope` and ends with `suffix`."""
    found = tf.compat.v1.get_collection(collection, getattr(scope, "name", scope))
    return [variable for variable in found if suffix is None or variable.op.name.endswith(suffix)]


def get_trainable_variables(scope: str | None = None, suffix: str | None = None) -> list[tf.Variable]:
    """Returns the trainable variables, as `get_variables` does."""
    return get_variables(scope, suffix, tf.compat.v1.GraphKeys.TRAINABLE_VARIABLES)


def _scope_of(functions: Iterable[Callable[..., Any]] | _Scope, defaults: Mapping[str, Any]) -> _Scope:
    if isinstance(functions, Mapping):
        if defaults:
            raise ValueError("arg_scope: a scope that is used again takes no defaults; open another block inside it")
        return functions
    scope = dict(_CURRENT.get())
    for function in functions:
        if not has_arg_scope(function):
            raise ValueError(f"arg_scope: {function!r} takes no defaults; decorate it with add_arg_scope")
        original = function.takes_defaults_of  # type: ignore[attr-defined]
        scope[original] = {**scope.get(original, {}), **defaults}
    return scope
