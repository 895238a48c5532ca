"""Runs `SessionRunHook`s around steps, and what a program may watch of its training beside them."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import tensorflow as tf

from trainer.engine import host_values
from trainer.estimator.session import StepSession

SessionRunHook: Any = tf.compat.v1.train.SessionRunHook
SessionRunArgs: Any = tf.compat.v1.train.SessionRunArgs
# What a hook raises to say that there is nothing left to do, as an input_fn of TensorFlow 1 did.
END_OF_DATA = (tf.errors.OutOfRangeError, StopIteration)


@dataclasses.dataclass(frozen=True)
class Progress:
    """How far training is.

    Fields:
      step: the global step that has been reached.
      last_step: the global step at which training ends; None when the data decide.
      loss: of the latest step.
      scalars: the model's named scalars of the latest step.
      steps_per_sec, examples_per_sec: since the last progress; 0 before there is one.
    """

    step: int
    last_step: int | None
    loss: float
    scalars: Mapping[str, float]
    steps_per_sec: float
    examples_per_sec: float

    @property
    def remaining_secs(self) -> float | None:
        """Seconds to the end at this speed; None when not known."""
        if self.last_step is None or not self.steps_per_sec:
            return None
        return (self.last_step - self.step) / self.steps_per_sec


class ProgressHook(SessionRunHook):
    """Hears of the progress every `log_step_count_steps`, when the loss is looked at anyway. Costs nothing else."""

    def on_progress(self, progress: Progress) -> None:
        """Called with where training is."""
        raise NotImplementedError


@dataclasses.dataclass(frozen=True)
class StepRequest:
    """What the hooks want of the next step: graph elements to fetch, and values to feed, both by name."""

    fetches: Mapping[str, Any]
    feeds: Mapping[str, Any]


class HookRunner:
    """Calls hooks in their order, inside the graph of the step.

    Hooks that override neither `before_run` nor `after_run` cost nothing at a step.
    """

    def __init__(self, hooks: Sequence[Any], session: StepSession):
        self._hooks = list(hooks)
        self._session = session
        self._requests: list[tuple[Any, Any, Any]] = []
        self._per_step: list[Any] = [hook for hook in hooks if _acts_on_steps(hook)]
        self.stop_requested = False

    @property
    def acts_on_steps(self) -> bool:
        """Whether any hook wants to be called at each step."""
        return bool(self._per_step)

    def begin(self) -> None:
        """Lets hooks add to the graph."""
        with self._session.extending_graph():
            for hook in self._hooks:
                hook.begin()

    def after_create_session(self) -> None:
        """Tells hooks that variables have their values."""
        with self._session.graph.as_default():
            for hook in self._hooks:
                hook.after_create_session(self._session, tf.train.Coordinator())

    def before_step(self) -> StepRequest:
        """Asks hooks what they want of the next step.

        Raises:
          RuntimeError: two feed the same tensor.
        """
        self._requests = []
        fetches: dict[str, Any] = {}
        feeds: dict[str, Any] = {}
        # One for all hooks: each sees what those before it have asked for.
        context = tf.compat.v1.train.SessionRunContext(SessionRunArgs(None), self._session)
        with self._session.graph.as_default():
            for hook in self._per_step:
                arguments = hook.before_run(context) or SessionRunArgs(None)
                elements = _elements(arguments.fetches, self._session)
                self._requests.append((hook, context, elements))
                fetches.update({element.name: element for element in _flat(elements)})
                self._add_feeds(feeds, arguments.feed_dict or {})
        return StepRequest(fetches, feeds)

    def _add_feeds(self, feeds: dict[str, Any], feed_dict: Mapping[Any, Any]) -> None:
        for key, value in feed_dict.items():
            name = self._session.element(key).name
            if name in feeds:
                raise RuntimeError(f"Same tensor is fed by two hooks: {name}; leave it to one of them")
            feeds[name] = value

    def after_step(self, fetched: Mapping[str, Any]) -> None:
        """Hands hooks the values that they wanted; one that raises `END_OF_DATA` wants to stop."""
        with self._session.graph.as_default():
            for hook, context, elements in self._requests:
                results = None
                if elements is not None:
                    values = [_value_of(element, fetched) for element in _flat(elements)]
                    results = tf.nest.pack_sequence_as(elements, values, expand_composites=True)
                try:
                    hook.after_run(context, tf.compat.v1.train.SessionRunValues(results, None, None))
                except END_OF_DATA:
                    self.stop_requested = True
                    return
                self.stop_requested |= context.stop_requested

    def end(self) -> None:
        """Tells hooks that the steps are over, as planned."""
        with self._session.graph.as_default():
            for hook in self._hooks:
                hook.end(self._session)


def _acts_on_steps(hook: Any) -> bool:
    return any(getattr(type(hook), name) is not getattr(SessionRunHook, name) for name in ("before_run", "after_run"))


def _elements(fetches: Any, session: StepSession) -> Any:
    return None if fetches is None else tf.nest.map_structure(session.element, fetches)


def _flat(elements: Any) -> list[Any]:
    return [] if elements is None else tf.nest.flatten(elements, expand_composites=True)


def _value_of(element: Any, fetched: Mapping[str, Any]) -> Any:
    if isinstance(element, tf.Operation):
        return None
    array = host_values.array(fetched[element.name])
    return array[()] if array.ndim == 0 else array
