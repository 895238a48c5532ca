"""Runs a step program, and variants of it that show hooks what they want to see."""

from collections.abc import Mapping, Sequence
from typing import Any

import tensorflow as tf

from trainer.engine.engine import Engine, Executable
from trainer.engine.tf_engine import TfEngine
from trainer.estimator.hooks import StepRequest


class StepRunner:
    """Runs steps of one program, or of the variants of it that fetch what hooks want to see."""

    def __init__(self, executable: Executable, engine: Engine):
        self.program = executable.program
        self._engine = engine
        self._trace = executable.program.trace
        self._current = executable
        self._variants: dict[tuple[tuple[str, ...], tuple[str, ...]], Executable] = {((), ()): executable}
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
        if isinstance(self._engine, TfEngine):
            self.latest_batch = batch
        outputs = self._current.program.pack_outputs(flat)
        return {**outputs["per_replica"], **outputs["replicated"]}

    def write_state(self) -> None:
        """Brings the variables up to date."""
        if self._is_ahead:
            self._current.write_state()
            self._is_ahead = False

    def read_state(self) -> None:
        """Takes over the values of the variables."""
        self._current.read_state()
        self._is_ahead = False

    def _switch(self, request: StepRequest) -> list[tf.Tensor]:
        if isinstance(self._engine, TfEngine):
            self._fetches = dict(request.fetches)
        else:
            # Once asked for, a fetch stays: a variant takes minutes to compile, and its state has to be carried over.
            self._fetches.update(request.fetches)
        key = (tuple(sorted(self._fetches)), tuple(sorted(request.feeds)))
        fed = [self._trace.graph.get_tensor_by_name(name) for name in key[1]]
        if key not in self._variants:
            self._variants[key] = self._engine.load(self._trace.program(dict(self._fetches), fed))
        if self._variants[key] is not self._current:
            self.write_state()
            self._current = self._variants[key]
            self._current.read_state()
        return [tf.convert_to_tensor(request.feeds[tensor.name], tensor.dtype) for tensor in fed]
