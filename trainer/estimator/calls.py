"""Calls the functions that a program hands in, with the arguments that each of them takes."""

import functools
import inspect
from collections.abc import Callable, Mapping
from typing import Any


def argument_names(function: Callable[..., Any]) -> tuple[str, ...]:
    """Returns the names of the parameters that can be passed by name; unwraps partials and callable objects."""
    parameters = inspect.signature(function).parameters.values()
    by_name = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    return tuple(parameter.name for parameter in parameters if parameter.kind in by_name)


def takes_any_keyword(function: Callable[..., Any]) -> bool:
    """Returns whether the function has a `**kwargs`."""
    parameters = inspect.signature(function).parameters.values()
    return any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in parameters)


def with_accepted(function: Callable[..., Any], offered: Mapping[str, Any], *positional: Any) -> Any:
    """Calls `function(*positional, ...)` with those of the `offered` arguments that it takes by name."""
    names = argument_names(function)
    return function(*positional, **{name: value for name, value in offered.items() if name in names})


def check_model_fn(model_fn: Callable[..., Any], params: Any) -> None:
    """Checks the signature of a model_fn.

    Raises:
      ValueError: it lacks `features`, cannot take the given `params`, or takes an argument that nobody supplies.
    """
    names = argument_names(model_fn)
    if "features" not in names:
        raise ValueError(f"model_fn ({model_fn}) must include features argument: def model_fn(features, labels, ...)")
    if params is not None and "params" not in names and not takes_any_keyword(model_fn):
        raise ValueError(
            f"model_fn ({model_fn}) does not include params argument, but params ({params}) is passed to Estimator; "
            f"add params to its arguments"
        )
    parameters = inspect.signature(model_fn).parameters
    unknown = [
        name
        for name in names
        if name not in ("features", "labels", "mode", "params", "config")
        and parameters[name].default is inspect.Parameter.empty
    ]
    if unknown:
        raise ValueError(f"model_fn ({model_fn}) has following not expected args: {unknown}; bind them beforehand")


def model_fn(
    function: Callable[..., Any], features: Any, labels: Any, mode: str, *, params: Any = None, config: Any = None
) -> Any:
    """Calls a model_fn with those arguments that it takes; without parameters, `params` is empty.

    Raises:
      ValueError: there are labels, and it does not take any.
    """
    names = argument_names(function)
    offered = {"features": features, "mode": mode, "params": {} if params is None else params, "config": config}
    if "labels" in names:
        offered["labels"] = labels
    elif labels is not None:
        raise ValueError("model_fn does not take labels, but input_fn returns labels; give it a labels argument")
    if params is not None and "params" not in names and takes_any_keyword(function):
        return with_accepted(functools.partial(function, params=params), offered)
    return with_accepted(function, offered)
