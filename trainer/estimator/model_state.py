"""The values of a model's variables: where they come from when training starts, and when it is evaluated."""

import contextlib
import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
from absl import logging

from trainer.engine.step_program import StepTrace
from trainer.engine.variables import GLOBAL_STEP_NAME, VariableStore
from trainer.errors import UserError
from trainer.estimator import checkpoints, variable_parts
from trainer.estimator.checkpoints import CheckpointDirectory


@dataclasses.dataclass(frozen=True)
class Snapshot:
    """A checkpoint that has been read: its path, its global step, and its values by name (None: the model has them)."""

    path: str
    step: int
    values: Mapping[str, np.ndarray] | None


@dataclasses.dataclass(frozen=True, eq=False)
class FirstValues:
    """What variables began with, in a model without a checkpoint; equal to itself alone."""

    values: Mapping[str, np.ndarray]


class ModelState:
    """Loads values into the variables of one model, and knows which checkpoint they are of."""

    def __init__(self, store: VariableStore, directory: CheckpointDirectory):
        self._store = store
        self._directory = directory
        self._source: str | None = None
        self._read_path: str | None = None
        # Where some variables were loaded from, by which names, when nothing has changed since.
        self._held: tuple[str | FirstValues, Mapping[str, str]] | None = None

    def newest(self) -> Snapshot | None:
        """Returns the newest whole checkpoint; None when there never was one.

        Raises:
          UserError: none can be read.
        """
        if self._source is not None and self._source == self._directory.latest():
            return Snapshot(self._source, int(self._store.global_step.numpy()), None)
        found = self._directory.read_newest()
        if found is None:
            return None
        path, values = found
        step = values.get(GLOBAL_STEP_NAME)
        return Snapshot(path, checkpoints.step_of(path) if step is None else int(step), values)

    def newest_path(self) -> str | None:
        """Returns the path of the newest whole checkpoint, which is read unless that was done before; None without any.

        Raises:
          UserError: none can be read.
        """
        latest = self._directory.latest()
        held = self._held[0] if self._held else None
        if latest is None or latest not in (self._source, held, self._read_path):
            found = self._directory.read_newest()
            self._read_path = found[0] if found else None
            return self._read_path
        return latest

    def take(self, snapshot: Snapshot) -> None:
        """Loads a checkpoint.

        Raises:
          UserError: it lacks a variable of the model, or has another shape for it.
        """
        if snapshot.values is None and self._source == snapshot.path:
            return
        values = checkpoints.read(snapshot.path) if snapshot.values is None else snapshot.values
        self._assign(snapshot.path, {name: name for name in self._store.saved}, values)
        self._source = snapshot.path
        logging.info("restored from %s", snapshot.path)

    def changed(self) -> None:
        """Notes that the variables no longer have the values of a checkpoint."""
        self._source = None
        self._held = None

    def saved_as(self, path: str) -> None:
        """Notes that the variables have just been saved."""
        self._source = path

    def is_saved_as(self, path: str) -> bool:
        """Returns whether all variables have the values of a checkpoint."""
        return self._source == path

    @contextlib.contextmanager
    def holding(self, origin: str | FirstValues, names: Mapping[str, str], *, put_back: bool) -> Iterator[None]:
        """Inside the `with` block, variables have the values of a checkpoint, or first values.

        Args:
          origin: the path of the checkpoint, or the first values.
          names: for each variable by name, the name there.
          put_back: whether the values from before are needed afterwards.

        Raises:
          UserError: the checkpoint lacks one of them, or is damaged.
        """
        if self._has(origin, names):
            source = self._source
            try:
                yield
            finally:
                if put_back and not self._has(origin, names):
                    # What hooks of an evaluation change is not for the training around it.
                    self._load(origin, names)
                    self._source = source
            return
        before = {name: self._store[name].numpy() for name in names} if put_back else {}
        source = self._source
        self.changed()
        self._load(origin, names)
        if not put_back:
            # Not `_source`: the checkpoint may have more, such as what only training makes variables for.
            self._held = origin, names
        try:
            yield
        finally:
            for name, value in before.items():
                self._store[name].assign(value)
            if put_back:
                self._source = source

    def _has(self, origin: str | FirstValues, names: Mapping[str, str]) -> bool:
        return (self._source == origin and _keeps_names(names)) or self._held == (origin, names)

    def _load(self, origin: str | FirstValues, names: Mapping[str, str]) -> None:
        if isinstance(origin, FirstValues):
            self._assign("the first values", names, origin.values)
        else:
            wholes = variable_parts.names_of_wholes(self._store[name] for name in names)
            values = checkpoints.read(origin, [*names.values(), *wholes])
            # One that somebody else wrote may have no step.
            has_step = GLOBAL_STEP_NAME in values
            wanted = {name: other for name, other in names.items() if has_step or other != GLOBAL_STEP_NAME}
            self._assign(origin, wanted, values)

    @contextlib.contextmanager
    def showing(self, names: Mapping[str, str]) -> Iterator[None]:
        """Inside the `with` block, variables have the present values of others: for each by name, its name.

        Afterwards they are as they were before, whatever hooks have done to them.
        """
        before = {name: self._store[name].numpy() for name in names}
        present = {name: self._store[other].numpy() for name, other in names.items() if name != other}
        source = self._source
        self.changed()
        for name, value in present.items():
            self._store[name].assign(value)
        try:
            yield
        finally:
            for name, value in before.items():
                self._store[name].assign(value)
            self._source = source

    @contextlib.contextmanager
    def keeping_local(self) -> Iterator[None]:
        """Afterwards local variables, of metrics say, are as they were before the `with` block, however it ends."""
        before = self.local_values()
        try:
            yield
        finally:
            self.set_local(before)

    def local_values(self) -> dict[str, np.ndarray]:
        """Returns the values of local variables, by name."""
        return {name: variable.numpy() for name, variable in self._store.local.items()}

    def set_local(self, values: Mapping[str, np.ndarray] | None) -> None:
        """Gives local variables these values; None stands for those that they begin with."""
        if values is None:
            self._store.reset_local()
        for name, value in (values or {}).items():
            self._store[name].assign(value)

    def _assign(self, path: str, names: Mapping[str, str], values: Mapping[str, np.ndarray]) -> None:
        self._held = None
        parts = {name: variable_parts.value_for(self._store[name], other, values) for name, other in names.items()}
        found = {name: value for name, value in parts.items() if value is not None}
        missing = sorted(other for name, other in names.items() if name not in found)
        if missing:
            raise UserError(
                f"lacks {len(missing)} of the model's variables, {', '.join(missing[:3])}{'...' * (len(missing) > 3)}",
                where=path,
                remedy="it was written by another model: give another model_dir, or use warm_start_from for part of it",
            )
        for name, value in found.items():
            variable = self._store[name]
            if not variable.shape.is_compatible_with(value.shape):
                raise UserError(
                    f"{names[name]} has shape {value.shape}, the model's {name} has {tuple(variable.shape.as_list())}",
                    where=path,
                    remedy="it was written by another model: give another model_dir",
                )
            variable.assign(value)


def _keeps_names(names: Mapping[str, str]) -> bool:
    return all(name == other for name, other in names.items())


def restore_names(trace: StepTrace, variables: Sequence[tf.Variable], scaffold: Any) -> dict[str, str]:
    """Returns, for each variable to be loaded, its name in the checkpoint.

    Args:
      trace: the trace that the variables belong to.
      variables: those of the program.
      scaffold: a `tf.compat.v1.train.Scaffold` or None; its saver may take variables from other names, such as
        moving averages.
    """
    saved = trace.store.saved
    own_names = {name: name for name, variable in saved.items() if any(variable is other for other in variables)}
    saver = getattr(scaffold, "saver", None)
    mapped = getattr(saver, "_var_list", None)
    if mapped is None:
        return own_names
    by_identity = {id(variable): name for name, variable in saved.items()}
    pairs = (
        mapped.items()
        if isinstance(mapped, Mapping)
        else [(by_identity[id(variable)], variable) for variable in mapped]
    )
    return {by_identity[id(variable)]: name for name, variable in pairs}
