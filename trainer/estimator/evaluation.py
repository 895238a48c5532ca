"""The evaluation loop: every example once, the metrics on the host."""

import contextlib
import dataclasses
import functools
import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
from absl import logging

from trainer.engine import host_values
from trainer.engine.engine import Executable
from trainer.engine.spec import ModeKeys
from trainer.engine.tf_engine import TfEngine
from trainer.errors import UserError
from trainer.estimator import checkpoints, model_programs, model_steps, profiler_hook
from trainer.estimator.evaluation_metrics import Accumulator
from trainer.estimator.events import EventWriter
from trainer.estimator.hooks import END_OF_DATA, HookRunner
from trainer.estimator.interrupts import Interrupts
from trainer.estimator.model import Model
from trainer.estimator.model_programs import ModelPrograms
from trainer.estimator.replica_batches import ReplicaLayout
from trainer.estimator.session import StepSession
from trainer.estimator.step_runner import StepRunner
from trainer.estimator.tpu_context import Deployment


class Evaluator:
    """Evaluates one program; made once, for as many evaluations as there are."""

    def __init__(self, executable: Executable):
        self._executable = executable
        payload = executable.program.payload
        self._metric_fn = payload.metric_fn
        self._host_metrics: Executable | None = None
        # With a metric_fn it is made anew, for the metrics on the host, when its tensors are first seen.
        self._accumulator = Accumulator(executable.program, payload.metrics)
        self._losses: list[Any] = []

    @property
    def executable(self) -> Executable:
        """The step."""
        return self._executable

    def reset(self) -> None:
        """Begins a new evaluation."""
        self._losses = []
        self._accumulator.reset()

    def add(self, outputs: Any) -> None:
        """Takes the outputs of a step; waits for them."""
        self._losses.append(host_values.array(outputs["loss"]).astype(np.float64))
        if self._metric_fn is None:
            self._accumulator.add(outputs["statistics"])
        else:
            self._add_on_host(tf.nest.map_structure(host_values.array, outputs["metric_tensors"]))

    def _add_on_host(self, tensors: Any) -> None:
        if self._host_metrics is None:
            self._host_metrics = model_programs.trace_on_host(model_steps.metrics_step(self._metric_fn), tensors)
            program = self._host_metrics.program
            self._accumulator = Accumulator(program, program.payload)
        flat = self._host_metrics([tf.convert_to_tensor(tensor) for tensor in tf.nest.flatten(tensors)])
        self._accumulator.add(self._host_metrics.program.pack_outputs(flat)["replicated"]["statistics"])

    def result(self) -> dict[str, Any]:
        """Returns the metrics, and `loss`: the mean over steps.

        Raises:
          UserError: there was no step.
        """
        if not self._losses:
            raise UserError("nothing to evaluate: the input_fn's data are empty", remedy="look at its file names")
        return {**self._accumulator.result(), "loss": np.float32(np.mean(self._losses))}


class EvaluationLoop:
    """Runs the steps of one evaluation."""

    def __init__(
        self,
        evaluator: Evaluator,
        runner: StepRunner,
        layout: ReplicaLayout,
        programs: ModelPrograms,
        hooks: HookRunner,
    ):
        self._evaluator = evaluator
        self._runner = runner
        self._layout = layout
        self._programs = programs
        self._hooks = hooks

    def run(self, batches: Iterator[Sequence[tf.Tensor]], steps: int | None, interrupts: Interrupts) -> dict[str, Any]:
        """Evaluates `steps` batches, or all; returns the metrics."""
        self._evaluator.reset()
        self._hooks.after_create_session()
        previous = None
        for batch in itertools.islice(batches, steps):
            interrupts.raise_pending()
            try:
                outputs = self._step(batch)
            except END_OF_DATA:
                break
            # The device works on this step while the host takes in the one before.
            if previous is not None:
                self._evaluator.add(previous)
            previous = outputs
            if self._hooks.stop_requested:
                break
        if previous is not None:
            self._evaluator.add(previous)
        self._hooks.end()
        return self._evaluator.result()

    def _step(self, batch: Sequence[tf.Tensor]) -> Any:
        if not self._layout.is_full(batch):
            return self._step_on_host(batch)
        request = self._hooks.before_step() if self._hooks.acts_on_steps else None
        outputs = self._runner.run(self._layout.divide(batch), request)
        if request is not None:
            self._hooks.after_step(outputs.get("fetches", {}))
        return outputs

    def _step_on_host(self, batch: Sequence[tf.Tensor]) -> Any:
        """Evaluates the rest of the data, no full batch, on this host's CPU: padding would count in the loss.

        Raises:
          UserError: there are other hosts, which would not see it: each would have metrics of its own.
        """
        if self._layout.deployment.num_hosts > 1:
            what = "the last batch of this host is no full one, which cannot be evaluated on several hosts"
            remedy = "batch with drop_remainder=True, or fill it up with examples that the metrics weigh with 0"
            raise UserError(what, where="the input_fn", remedy=remedy)
        deployment = Deployment(TfEngine(), self._layout.deployment.global_batch_sizes)
        executable = self._programs.executable(ModeKeys.EVAL, self._layout.element_spec, deployment)
        outputs = executable.program.pack_outputs(executable(batch))
        return {**outputs["per_replica"], **outputs["replicated"]}


def _evaluator(model: Model, layout: ReplicaLayout) -> Evaluator:
    executable = model.programs.executable(ModeKeys.EVAL, layout.replica_spec, layout.deployment)
    return model.programs.companion(executable, Evaluator)


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """What to evaluate on: an input_fn, how many of its batches (None for all), and `SessionRunHook`s."""

    input_fn: Callable[..., Any]
    steps: int | None = None
    hooks: Sequence[Any] = ()

    def __post_init__(self):
        if self.steps is not None and self.steps <= 0:
            raise ValueError(f"Must specify steps > 0, given: {self.steps}")
        if self.steps is not None:
            # Programs divide examples by the size of a batch; TensorFlow 1 took a part of a batch for a whole one.
            object.__setattr__(self, "steps", math.ceil(self.steps))


def evaluate(
    model: Model,
    input_fn: Callable[..., Any],
    steps: int | None = None,
    hooks: Sequence[Any] = (),
    checkpoint_path: str | None = None,
    name: str | None = None,
) -> dict[str, Any]:
    """Evaluates a checkpoint, the newest by default, and writes the metrics as events.

    Args:
      model: what to evaluate.
      input_fn: its data.
      steps: batches to evaluate; None for all.
      hooks: `SessionRunHook`s beside those of the spec.
      checkpoint_path: a checkpoint, or None for the newest.
      name: tells evaluations on several data apart.

    Returns:
      The metrics by name, with `loss` and `global_step`.
    """
    path = model.checkpoint_or_latest(checkpoint_path, "evaluate")
    values = _values(model, Evaluation(input_fn, steps, hooks), functools.partial(model.holding, path))
    return _reported(model, values, checkpoints.global_step(path) if path else 0, name)


def evaluate_present(model: Model, evaluation: Evaluation, name: str | None = None) -> dict[str, Any]:
    """Evaluates the variables as they are, in the middle of training; otherwise as `evaluate`.

    A signal does not end it: training will save first.
    """
    values = _values(model, evaluation, model.holding_present, Interrupts())
    return _reported(model, values, int(model.programs.store.global_step.numpy()), name)


def _values(
    model: Model, evaluation: Evaluation, holding: Callable[..., Any], interrupts: Interrupts | None = None
) -> dict[str, Any]:
    streams = model.streams(evaluation.input_fn, ModeKeys.EVAL)
    layout = model.layout(streams, ModeKeys.EVAL)
    evaluator = _evaluator(model, layout)
    program = evaluator.executable.program
    engine = layout.deployment.engine
    session = StepSession(program.trace)
    # A training around it has local variables as well, of metrics or sums of its own.
    keeping_local = model.state.keeping_local() if model.is_training else contextlib.nullcontext()
    with profiler_hook.serving([*evaluation.hooks, *program.payload.hooks], engine) as session_hooks:
        hooks = HookRunner(session_hooks, session)
        hooks.begin()
        with keeping_local, holding(program):
            model.programs.store.reset_local()
            evaluator.executable.read_state()
            runner = StepRunner(evaluator.executable, engine, model.state.changed)
            session.follow(runner)
            loop = EvaluationLoop(evaluator, runner, layout, model.programs, hooks)
            return loop.run(layout.host_batches(streams), evaluation.steps, interrupts or model.interrupts)


def _reported(model: Model, values: dict[str, Any], step: int, name: str | None) -> dict[str, Any]:
    """Writes the metrics as events and to the log; returns them with the step."""
    result = {**values, "global_step": np.int64(step)}
    texts = [f"{key} = {value}" for key, value in sorted(result.items()) if not isinstance(value, bytes)]
    logging.info("evaluated step %d: %s", step, ", ".join(texts))
    events = EventWriter(model.eval_dir(name))
    events.metrics(values, step)
    events.close()
    return result
