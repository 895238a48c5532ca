"""What hooks of TensorFlow 1 find in place of a session: `run` evaluates tensors of the step's graph, between steps."""

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol

import tensorflow as tf
from absl import logging
from tensorflow.python.client import session as client_session
from tensorflow.python.framework import stack

from trainer.engine import effects, host_values
from trainer.engine.step_program import StepTrace
from trainer.engine.subgraph import UnfedInputError


class StateOwner(Protocol):
    """Has the state of a program somewhere else than in its variables.

    Fields:
      latest_batch: the flat batch of the latest step, where parts of the step can be run with it once more.
    """

    latest_batch: Sequence[tf.Tensor] | None

    def write_state(self) -> None:
        """Brings the variables up to date."""

    def read_state(self) -> None:
        """Takes over the values of the variables."""

    def note_change(self) -> None:
        """Notes that the variables are no longer what they were loaded as."""


class StepSession(client_session.SessionInterface):
    """Evaluates tensors of a step's graph, with the batch of the latest step where they depend on it."""

    def __init__(self, trace: StepTrace):
        self._trace = trace
        self._functions: dict[tuple[str, ...], tuple[Any, bool]] = {}
        self._reads: dict[str, tf.Tensor] = {}
        self._owner: StateOwner | None = None

    @property
    def graph(self) -> tf.Graph:
        """The graph of the step."""
        return self._trace.graph

    @property
    def sess_str(self) -> str:
        """The address of a session: none."""
        return ""

    def as_default(self) -> AbstractContextManager[Any]:
        """Inside the `with` block `tensor.eval()` runs here."""
        return stack.default_session(self)

    def follow(self, owner: StateOwner) -> None:
        """From now on `run` sees and changes the state that `owner` has."""
        self._owner = owner

    def update_variables(self) -> None:
        """Brings the variables up to date with the steps so far; waits for them."""
        if self._owner is not None:
            # Hooks call this inside the graph; it is to change variables, not to add to the graph.
            with tf.init_scope():
                self._owner.write_state()

    def extending_graph(self) -> AbstractContextManager[None]:
        """Inside the `with` block operations and variables may be added to the graph."""
        return self._trace.extending()

    def run(
        self, fetches: Any, feed_dict: Mapping[Any, Any] | None = None, options: Any = None, run_metadata: Any = None
    ) -> Any:
        """Returns the values of `fetches`, in their structure; None for an operation.

        Args:
          fetches: nest of tensors, operations, variables, or their names.
          feed_dict: values by tensor or name.
          options: of no effect.
          run_metadata: of no effect.

        Raises:
          ValueError: a fetch depends on the step's batch, before the first step or on an accelerator.
        """
        del options, run_metadata
        # Hooks call this inside the graph; it is to compute, not to add to the graph.
        with tf.init_scope():
            return self._run(fetches, feed_dict or {})

    def _run(self, fetches: Any, feed_dict: Mapping[Any, Any]) -> Any:
        elements = tf.nest.map_structure(self.element, fetches)
        feeds = [(self.element(key), value) for key, value in feed_dict.items()]
        flat = tf.nest.flatten(elements, expand_composites=True)
        tensors = [element for element in flat if not isinstance(element, tf.Operation)]
        fed_values = [tf.convert_to_tensor(value, feed.dtype) for feed, value in feeds]
        function, batch = self._function(flat, tensors, [feed for feed, _ in feeds])
        self.update_variables()
        values = iter(function(*batch, *fed_values))
        if self._owner is not None and any(map(effects.has_effect, function.graph.get_operations())):
            self._owner.read_state()
            self._owner.note_change()
        results = [None if isinstance(element, tf.Operation) else _to_numpy(next(values)) for element in flat]
        return tf.nest.pack_sequence_as(elements, results, expand_composites=True)

    def element(self, fetch: Any) -> Any:
        """Returns the tensor or operation of the graph that a fetch stands for."""
        if isinstance(fetch, tf.Variable):
            if fetch.name not in self._reads:
                with self.graph.as_default():
                    self._reads[fetch.name] = tf.identity(fetch)
            return self._reads[fetch.name]
        is_element = isinstance(fetch, tf.Operation) or tf.is_tensor(fetch)
        return fetch if is_element else self.graph.as_graph_element(fetch)

    def should_stop(self) -> bool:
        """Always False: a hook stops training by `run_context.request_stop()`."""
        return False

    def _function(self, flat: list[Any], tensors: list[Any], feeds: list[tf.Tensor]) -> tuple[Any, Sequence[tf.Tensor]]:
        """Returns what computes the fetches, and the batch that it needs before the feeds, empty if none."""
        key = (*(element.name for element in flat), "|", *(feed.name for feed in feeds))
        if key not in self._functions:
            targets = [element for element in flat if isinstance(element, tf.Operation)]
            self._functions[key] = self._cut(feeds, tensors, targets)
        function, needs_batch = self._functions[key]
        return function, (self._latest_batch or ()) if needs_batch else ()

    def _cut(self, feeds: list[tf.Tensor], tensors: list[Any], targets: list[tf.Operation]) -> tuple[Any, bool]:
        try:
            return self._trace.function(feeds, tensors, targets), False
        except UnfedInputError:
            if self._latest_batch is None:
                raise
        logging.warning(
            "session.run takes the batch of the latest step for %s (TensorFlow 1 read another batch for it)",
            ", ".join(element.name for element in [*tensors, *targets]),
        )
        # What is fed comes last: it holds where it is part of the batch.
        return self._trace.function([*self._trace.inputs, *feeds], tensors, targets), True

    @property
    def _latest_batch(self) -> Sequence[tf.Tensor] | None:
        return None if self._owner is None else self._owner.latest_batch


def _to_numpy(value: Any) -> Any:
    array = host_values.array(value)
    return array[()] if array.ndim == 0 else array
