"""The prediction loop: one result per example, in the order of the input."""

import contextlib
import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any

import numpy as np
import tensorflow as tf

from trainer.engine import host_values
from trainer.engine.engine import Executable
from trainer.engine.spec import ModeKeys
from trainer.estimator import profiler_hook, replica_batches
from trainer.estimator.hooks import END_OF_DATA, HookRunner
from trainer.estimator.model import Model
from trainer.estimator.model_state import FirstValues
from trainer.estimator.replica_batches import ReplicaLayout
from trainer.estimator.session import StepSession
from trainer.estimator.step_runner import StepRunner


class PredictionLoop:
    """Runs the steps of one prediction.

    `loaded` opens a context in which the program has the weights to predict with. Between batches the caller may do
    anything, even train: they are loaded again then.
    """

    def __init__(
        self,
        runner: StepRunner,
        layout: ReplicaLayout,
        hooks: HookRunner,
        loaded: Callable[[], AbstractContextManager[None]],
    ):
        self._runner = runner
        self._layout = layout
        self._hooks = hooks
        self._loaded = loaded

    def run(self, batches: Iterator[Sequence[tf.Tensor]]) -> Iterator[Any]:
        """Yields the predictions of each batch, as arrays."""
        with self._loaded():
            self._hooks.after_create_session()
        for batch in batches:
            try:
                with self._loaded():
                    predictions = self._predict(batch)
            except END_OF_DATA:
                break
            yield predictions
            if self._hooks.stop_requested:
                break
        with self._loaded():
            self._hooks.end()

    def _predict(self, batch: Sequence[tf.Tensor]) -> Any:
        if self._layout.is_full(batch):
            return self._step(batch)
        num_rows = batch[0].shape[0]
        full = replica_batches.pad(batch, self._layout.full_num_rows)
        return tf.nest.map_structure(lambda rows: rows[:num_rows], self._step(full))

    def _step(self, batch: Sequence[tf.Tensor]) -> Any:
        request = self._hooks.before_step() if self._hooks.acts_on_steps else None
        outputs = self._runner.run(self._layout.divide(batch), request)
        if request is not None:
            self._hooks.after_step(outputs.get("fetches", {}))
        return tf.nest.map_structure(host_values.array, outputs["predictions"])


def selected(predictions: Any, keys: Sequence[str] | None) -> Any:
    """Returns the predictions under `keys` only.

    Raises:
      ValueError: there are none of these, or the predictions have no keys.
    """
    if not keys:
        return predictions
    if not isinstance(predictions, Mapping):
        raise ValueError("predict_keys argument is not valid in case of non-dict predictions; leave it out")
    chosen = {name: value for name, value in predictions.items() if name in keys}
    if not chosen:
        raise ValueError(f"Expected to run at least one output from {sorted(predictions)}, provided {list(keys)}")
    return chosen


def examples(predictions: Any) -> Iterator[Any]:
    """Yields the predictions of each example of a batch.

    Raises:
      ValueError: the predictions do not have one row per example.
    """
    flat = list(predictions.values()) if isinstance(predictions, Mapping) else [predictions]
    sizes = {value.shape[0] if value.ndim else None for value in flat}
    if len(sizes) != 1 or None in sizes:
        raise ValueError(
            f"Batch length of predictions should be same, got {sizes}; give every prediction one row per example, or "
            f"call predict(yield_single_examples=False)"
        )
    for row in range(flat[0].shape[0]):
        if isinstance(predictions, Mapping):
            yield {name: value[row] for name, value in predictions.items()}
        else:
            yield predictions[row]


class _Turns:
    """Whose weights an executable has: several predictions may take turns."""

    def __init__(self, executable: Executable):
        self.executable = executable
        self.owner: Any = None


@dataclasses.dataclass
class _Weights:
    """The weights of one prediction: those of a checkpoint, or first values, or what its hooks made of them."""

    model: Model
    origin: str | FirstValues
    turns: _Turns
    _local_values: Mapping[str, np.ndarray] | None = None

    @contextlib.contextmanager
    def loaded(self) -> Iterator[None]:
        """Inside the `with` block, the executable has them, and local variables are this prediction's own."""
        executable, state = self.turns.executable, self.model.state
        with state.keeping_local(), self.model.holding(self.origin, executable.program):
            state.set_local(self._local_values)
            if self.turns.owner is not self:
                executable.read_state()
                self.turns.owner = self
            yield
            self._local_values = state.local_values()

    def changed(self) -> None:
        """Notes that a hook has changed them: they stay so to the end of the prediction."""
        self.model.state.changed()
        self.origin = self.model.present_values(self.turns.executable.program)


def predict(
    model: Model,
    input_fn: Callable[..., Any],
    predict_keys: Sequence[str] | None = None,
    hooks: Sequence[Any] = (),
    checkpoint_path: str | None = None,
    *,
    yield_single_examples: bool = True,
) -> Iterator[Any]:
    """Yields predictions, in the order of the input.

    Args:
      model: what predicts.
      input_fn: its data; labels, if there are any, are left aside.
      predict_keys: the predictions that are wanted; None for all.
      hooks: `SessionRunHook`s beside those of the spec.
      checkpoint_path: a checkpoint, or None for the newest.
      yield_single_examples: False yields a batch at a time.
    """
    path = model.checkpoint_or_latest(checkpoint_path, "predict")
    streams = model.streams(input_fn, ModeKeys.PREDICT)
    layout = model.layout(streams, ModeKeys.PREDICT)
    executable = model.programs.executable(ModeKeys.PREDICT, layout.replica_spec, layout.deployment)
    program = executable.program
    session = StepSession(program.trace)
    with profiler_hook.serving([*hooks, *program.payload.hooks], layout.deployment.engine) as session_hooks:
        hook_runner = HookRunner(session_hooks, session)
        hook_runner.begin()
        weights = _Weights(model, path or model.first_values(program), model.programs.companion(executable, _Turns))
        runner = StepRunner(executable, layout.deployment.engine, weights.changed)
        session.follow(runner)
        loop = PredictionLoop(runner, layout, hook_runner, weights.loaded)
        for batch in loop.run(layout.host_batches(streams)):
            chosen = selected(batch, predict_keys)
            if yield_single_examples:
                yield from examples(chosen)
            else:
                yield chosen
