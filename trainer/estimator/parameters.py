"""`params`: what a program hands to its own model_fn and input_fn, and what the estimator adds to it."""

import copy
from collections.abc import Mapping
from typing import Any

RESERVED_KEYS = ("batch_size", "context")


def check(params: Any) -> None:
    """Checks the `params` of a TPUEstimator.

    Raises:
      ValueError: they hold a key that the estimator sets itself.
    """
    taken = [key for key in RESERVED_KEYS if params is not None and key in params]
    if taken:
        raise ValueError(f"{', '.join(taken)} are reserved keys of params, set by TPUEstimator; use another name")


def injected(params: Any, **additions: Any) -> Any:
    """Returns a copy of `params` with entries added; those that are None are left out.

    `params` is a mapping, or an object like TensorFlow 1's HParams (`set_hparam`, `add_hparam`).
    """
    result: Any = {} if params is None else copy.copy(params) if isinstance(params, Mapping) else copy.deepcopy(params)
    for name, value in additions.items():
        if value is None:
            continue
        if not hasattr(result, "set_hparam"):
            result[name] = value
        elif name in result:
            result.set_hparam(name, value)
        else:
            result.add_hparam(name, value)
    return result
