"""The loss, and the summaries that a model_fn makes with `tf.compat.v1.summary`, as events, on every engine.

A summary is a text that only a host can make. So the numbers behind it leave the device as outputs of the step, and the
summary operations run here, every so many steps.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import tensorflow as tf

from trainer.engine import host_values
from trainer.engine.step_program import StepTrace
from trainer.estimator.events import EventWriter


@dataclasses.dataclass(frozen=True)
class TracedSummaries:
    """The summaries of one trace.

    Fields:
      merged: text scalar, all of them.
      inputs: what they are made of: outputs of the step.
    """

    merged: tf.Tensor
    inputs: Sequence[tf.Tensor]


def trace() -> TracedSummaries | None:
    """Returns the summaries in the graph being traced; None without any."""
    merged = tf.compat.v1.summary.merge_all()
    return None if merged is None else TracedSummaries(merged, _numbers_behind(merged))


def _numbers_behind(text: tf.Tensor) -> list[tf.Tensor]:
    """Returns the numbers, and the texts of the batch, that a text is made of."""
    found: dict[int, tf.Tensor] = {}
    seen: set[int] = set()
    stack = [text]
    while stack:
        tensor = stack.pop()
        if id(tensor.op) in seen and tensor.dtype == tf.string:
            continue
        seen.add(id(tensor.op))
        if tensor.dtype == tf.string and tensor.op.type != "Placeholder":
            stack += tensor.op.inputs
        else:
            found[id(tensor)] = tensor
    return list(found.values())


class ModelSummaries:
    """Writes the loss and the summaries of a training's first step, and of every `every_n_steps`-th after it."""

    def __init__(
        self, traced: TracedSummaries | None, step_trace: StepTrace, events: EventWriter, every_n_steps: int | None
    ):
        self._merge: Any = None
        if traced is not None and every_n_steps:
            self._merge = step_trace.function(traced.inputs, [traced.merged])
        self._events = events
        self._every_n_steps = every_n_steps or 0
        self._next_step = 0
        self._latest_step: int | None = None

    def are_written_of(self, step: int) -> bool:
        """Returns whether the events have the loss and the summaries of this step, the latest."""
        return step == self._latest_step

    def add(self, step: int, outputs: Mapping[str, Any]) -> None:
        """Takes the outputs of a step; waits for it when its summaries are due."""
        if not self._every_n_steps or step < self._next_step:
            return
        self._latest_step = step
        self._next_step = step + self._every_n_steps
        self._events.scalars({"loss": host_values.array(outputs["loss"])}, step)
        if self._merge is None:
            return
        (serialised,) = self._merge(*(tf.convert_to_tensor(host_values.array(value)) for value in outputs["summaries"]))
        self._events.summary(serialised.numpy(), step)
