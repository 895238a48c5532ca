"""Warm start: first values of variables taken from another model's checkpoint."""

import dataclasses
import re
from collections.abc import Mapping
from typing import Any

import tensorflow as tf
from absl import logging

from trainer.engine.variables import VariableStore
from trainer.errors import UserError
from trainer.estimator import checkpoints
from trainer.estimator.checkpoints import CheckpointDirectory


@dataclasses.dataclass(frozen=True)
class WarmStartSettings:
    """Which variables to take from where.

    Fields:
      ckpt_to_initialize_from: a checkpoint, or a directory of which the newest is taken.
      vars_to_warm_start: a regular expression or a list of them, searched in the names of trainable variables; a
        list of variable names or variables, of any kind; None for none.
      var_name_to_vocab_info: vocabularies, which are not supported.
      var_name_to_prev_var_name: for variables that have another name there.
    """

    ckpt_to_initialize_from: str
    vars_to_warm_start: Any = ".*"
    var_name_to_vocab_info: Mapping[str, Any] | None = None
    var_name_to_prev_var_name: Mapping[str, str] | None = None

    def __post_init__(self):
        if not self.ckpt_to_initialize_from:
            raise ValueError("`ckpt_to_initialize_from` MUST be set in WarmStartSettings")
        if self.var_name_to_vocab_info:
            raise ValueError("var_name_to_vocab_info is not supported; remap the embedding before training")


def warm_start(store: VariableStore, source: str | WarmStartSettings) -> None:
    """Loads first values.

    Args:
      store: the variables of the model.
      source: a path takes all variables that the checkpoint has; settings take what they say.

    Raises:
      UserError: the checkpoint lacks a variable that was asked for, or has another shape for it.
    """
    if isinstance(source, WarmStartSettings):
        path = _checkpoint(source.ckpt_to_initialize_from)
        names = _selected(store, source)
    else:
        path = _checkpoint(source)
        names = _shared_names(store, path)
    values = checkpoints.read(path, names.values())
    for name, previous_name in names.items():
        if previous_name not in values:
            raise UserError(f"has no variable {previous_name}", where=path, remedy=_REMEDY)
        if not store[name].shape.is_compatible_with(values[previous_name].shape):
            raise UserError(
                f"{previous_name} has shape {values[previous_name].shape}, the model's {name} has "
                f"{tuple(store[name].shape)}",
                where=path,
                remedy=_REMEDY,
            )
        store[name].assign(values[previous_name])
    logging.info("warm start: %d variables from %s", len(names), path)


_REMEDY = "leave it out of WarmStartSettings(vars_to_warm_start=...), or name it in var_name_to_prev_var_name"


def _checkpoint(path: str) -> str:
    if not tf.io.gfile.isdir(path):
        return path
    latest = CheckpointDirectory(path).latest()
    if latest is None:
        raise UserError("no checkpoint to start from", where=path)
    return latest


def _shared_names(store: VariableStore, path: str) -> dict[str, str]:
    present = {name for name, _ in tf.train.list_variables(path)}
    # The step belongs to the other training.
    return {name: name for name in store.saved if name in present and name != "global_step"}


def _selected(store: VariableStore, settings: WarmStartSettings) -> dict[str, str]:
    previous = settings.var_name_to_prev_var_name or {}
    unknown = [name for name in previous if name not in store]
    if unknown:
        raise ValueError(f"var_name_to_prev_var_name has unknown variables {unknown}; known: {sorted(store.saved)}")
    return {name: previous.get(name, name) for name in _chosen(store, settings.vars_to_warm_start, previous)}


def _chosen(store: VariableStore, wanted: Any, previous: Mapping[str, str]) -> list[str]:
    if wanted is None:
        return list(previous)
    if isinstance(wanted, str):
        return [name for name in store.trainable if re.search(wanted, name)]
    if all(isinstance(item, str) for item in wanted):
        return [name for name in store.saved if any(re.search(pattern, name) for pattern in wanted)]
    return [_name(variable) for variable in wanted]


def _name(variable: Any) -> str:
    if not isinstance(variable, tf.Variable):
        raise ValueError(f"vars_to_warm_start must be text, or a list of names or variables, got {variable!r}")
    return variable.name.partition(":")[0]
