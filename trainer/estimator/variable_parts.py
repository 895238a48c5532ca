"""Parts of partitioned variables in checkpoints: as in TensorFlow 1, they are slices of one value with one name."""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import tensorflow as tf


def name_and_slice(name: str, value: Any) -> tuple[str, str]:
    """Returns the name in a checkpoint, and which part of it the value is, as TensorFlow writes that; '' for all."""
    part = _part_of(value)
    return (part.full_name, part.spec) if part is not None else (name, "")


def names_of_wholes(variables: Iterable[tf.Variable]) -> list[str]:
    """Returns the names in a checkpoint of what variables are parts of."""
    return [part.full_name for part in map(_part_of, variables) if part is not None]


def value_for(variable: tf.Variable, name: str, values: Mapping[str, np.ndarray]) -> np.ndarray | None:
    """Returns the value of a checkpoint for a variable, cut out of its whole if need be; None if it is not there.

    Args:
      variable: what it is for.
      name: its name in the checkpoint.
      values: what was read, by name.
    """
    part = _part_of(variable)
    if part is None or name in values or part.full_name not in values:
        return values.get(name)
    whole = values[part.full_name]
    if list(whole.shape) != list(part.full_shape):
        # The caller compares shapes.
        return whole
    bounds = zip(part.var_offset, part.var_shape, strict=True)
    return whole[tuple(slice(offset, offset + size) for offset, size in bounds)]


def _part_of(value: Any) -> Any:
    return getattr(value, "_save_slice_info", None)
