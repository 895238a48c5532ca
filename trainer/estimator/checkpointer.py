"""When training saves, and who is told: cadence, listeners, and the refusal to keep weights that are not finite."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf
from absl import logging

from trainer.engine.variables import VariableStore
from trainer.errors import UserError
from trainer.estimator.cadence import Cadence
from trainer.estimator.checkpoints import CheckpointDirectory
from trainer.estimator.model_state import ModelState
from trainer.estimator.session import StepSession


class NanLossError(UserError, tf.compat.v1.train.NanLossDuringTrainingError):
    """Training has diverged: names the step, and the last checkpoint from before."""

    def __str__(self) -> str:
        return self.args[0]


@dataclasses.dataclass
class Checkpointer:
    """Saves the variables of one training.

    Fields:
      store: the variables.
      state: is told which checkpoint they are of.
      directory: where checkpoints go.
      cadence: when.
      listeners: `tf.compat.v1.train.CheckpointSaverListener`s.
      is_chief: whether this process writes; the others only check.
      saved_step: the step that is saved already.
    """

    store: VariableStore
    state: ModelState
    directory: CheckpointDirectory
    cadence: Cadence
    listeners: Sequence[Any]
    is_chief: bool = True
    saved_step: int | None = None
    _is_unchanged: bool = False

    def begin(self, session: StepSession, step: int) -> None:
        """Saves the first values, unless they come from a checkpoint: before a step nobody can ask for a stop."""
        with session.extending_graph():
            for listener in self.listeners:
                listener.begin()
        self.save(session, step)

    def is_due(self, step: int) -> bool:
        """Returns whether it is time to save."""
        return self.cadence.is_due(step)

    def save(self, session: StepSession, step: int) -> bool:
        """Saves, unless this step is saved already; returns whether a listener wants training to stop.

        Raises:
          NanLossError: a weight is not finite.
        """
        self.cadence.restart(step)
        if step == self.saved_step:
            return False
        self.check_finite(step)
        if not self.is_chief:
            return False
        self._tell_listeners("before_save", session, step)
        path = self.directory.save(self.store.saved, step)
        self.saved_step = step
        logging.info("saved checkpoint %s", path)
        self.state.saved_as(path)
        wants_stop = self._tell_listeners("after_save", session, step)
        self._is_unchanged = self.state.is_saved_as(path)
        # If training goes on; `end` takes it back.
        self.state.changed()
        return any(want is True for want in wants_stop)

    def end(self, session: StepSession, step: int) -> None:
        """Saves the last step and takes leave of the listeners."""
        self.save(session, step)
        if not self.is_chief:
            return
        if self._is_unchanged:
            self.state.saved_as(self.directory.path(step))
        self._tell_listeners("end", session, step)

    def _tell_listeners(self, event: str, session: StepSession, step: int) -> list[Any]:
        """Calls a method of each listener, inside the graph as TensorFlow 1 does; returns what they say."""
        with session.graph.as_default():
            return [getattr(listener, event)(session, step) for listener in self.listeners]

    def check_finite(self, step: int) -> None:
        """Raises NanLossError if a weight is not finite."""
        for name, variable in self.store.trainable.items():
            if variable.dtype.is_floating and not np.isfinite(variable.numpy().astype(np.float32)).all():
                raise self.diverged(f"the weight {name} is not finite", step)

    def diverged(self, what: str, step: int) -> NanLossError:
        """Returns the error for weights or a loss that are not finite at a step."""
        latest = self.directory.latest()
        return NanLossError(
            f"{what} at step {step}",
            where=f"the last good checkpoint is {latest}" if latest else "there is no checkpoint",
            remedy="lower the learning rate or look at the data, then train again: it goes on from there",
        )
