"""Runs a step program, and variants of it that show hooks what they want to see."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import tensorflow as tf

from trainer.engine import effects
from trainer.engine.engine import Engine, Executable
from trainer.engine.step_program import StepProgram
from trainer.engine.tf_engine import TfEngine
from trainer.estimator.hooks import StepRequest


class StepRunner:
    """Runs steps of one program, or of the variants of it that fetch what hooks want to see.

    Args:
      executable: the program.
      engine: what runs it, and its variants.
      changed: called when variables of the model have other values than they were loaded with.
    """

    def __init__(self, executable: Executable, engine: Engine, changed: Callable[[], None]):
        self.program = executable.program
        self._engine = engine
        self._changed = changed
        self._has_changed_model = False
        self._trace = executable.program.trace
        self._current = executable
        self._variants: dict[tuple[tuple[str, ...], tuple[str, ...]], Executable] = {((), ()): executable}
        self._changes_model = {executable: _changes_model(executable.program)}
        self._fetches: dict[str, Any] = {}
        self._is_ahead = False
        self.latest_batch: Sequence[tf.Tensor] | None = None

    def run(self, batch: Sequence[tf.Tensor], request: StepRequest | None = None) -> Mapping[str, Any]:
        """Runs one step; returns its outputs by name, those of the request under `fetches`."""
        feeds: list[tf.Tensor] = []
        if request is not None and (request.fetches or request.feeds or self._fetches):
            feeds = self._switch(request)
        flat = self._current([*batch, *feeds])
        self._is_ahead = True
        self._has_changed_model |= self._changes_model[self._current]
        if isinstance(self._engine, TfEngine):
            self.latest_batch = batch
            self._tell_of_change()
        outputs = self._current.program.pack_outputs(flat)
        return {**outputs["per_replica"], **outputs["replicated"]}

    def write_state(self) -> None:
        """Brings the variables up to date."""
        if self._is_ahead:
            self._current.write_state()
            self._is_ahead = False
            self._tell_of_change()

    def read_state(self) -> None:
        """Takes over the values of the variables."""
        self._current.read_state()
        self._is_ahead = False

    def note_change(self) -> None:
        """Tells that somebody else has changed the variables."""
        self._changed()

    def _tell_of_change(self) -> None:
        """Called when what steps have done to the model is in its variables."""
        if self._has_changed_model:
            self._has_changed_model = False
            self._changed()

    def _switch(self, request: StepRequest) -> list[tf.Tensor]:
        if isinstance(self._engine, TfEngine):
            self._fetches = dict(request.fetches)
        else:
            # Once asked for, a fetch stays: a variant takes minutes to compile, and its state has to be carried over.
            self._fetches.update(request.fetches)
        key = (tuple(sorted(self._fetches)), tuple(sorted(request.feeds)))
        fed = [self._trace.graph.get_tensor_by_name(name) for name in key[1]]
        if key not in self._variants:
            variant = self._engine.load(self._trace.program(dict(self._fetches), fed))
            self._variants[key] = variant
            self._changes_model[variant] = _changes_model(variant.program)
        if self._variants[key] is not self._current:
            self.write_state()
            self._current = self._variants[key]
            self._current.read_state()
        return [tf.convert_to_tensor(request.feeds[tensor.name], tensor.dtype) for tensor in fed]


def _changes_model(program: StepProgram) -> bool:
    """Returns whether a step writes to variables of the model, beside local ones."""
    saved = {id(variable) for variable in program.trace.store.saved.values()}
    own = [variable for variable in program.variables if id(variable) in saved]
    return bool(effects.writes_to(program.concrete_function.graph, own))
