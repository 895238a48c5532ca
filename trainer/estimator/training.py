"""One call of `train`: from the newest checkpoint to the last step."""

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf
from absl import logging

from trainer.engine.spec import ModeKeys
from trainer.engine.step_program import StepProgram
from trainer.estimator import calls, profiler_hook
from trainer.estimator.cadence import Cadence
from trainer.estimator.checkpointer import Checkpointer
from trainer.estimator.checkpoints import RetentionPolicy
from trainer.estimator.events import EventWriter
from trainer.estimator.hooks import HookRunner, ProgressHook
from trainer.estimator.host_call import HostCall
from trainer.estimator.input_position import InputPosition
from trainer.estimator.input_source import BatchStream
from trainer.estimator.model import Model
from trainer.estimator.model_state import Snapshot
from trainer.estimator.model_summaries import ModelSummaries
from trainer.estimator.replica_batches import ReplicaLayout
from trainer.estimator.session import StepSession
from trainer.estimator.step_runner import StepRunner
from trainer.estimator.tpu_config import TPUConfig
from trainer.estimator.train_loop import LoopParts, LoopSettings, TrainLoop

CheckpointSaverHook = tf.compat.v1.train.CheckpointSaverHook


@dataclasses.dataclass(frozen=True)
class TrainingLimits:
    """When to stop: after `steps` more, at global step `max_steps`, or with the data when neither is given."""

    steps: int | None = None
    max_steps: int | None = None

    def __post_init__(self):
        if self.steps is not None and self.max_steps is not None:
            raise ValueError("Can not provide both steps and max_steps; give one of them")
        for name in ("steps", "max_steps"):
            value = getattr(self, name)
            if value is not None and value <= 0:
                raise ValueError(f"Must specify {name} > 0, given: {value}")

    def last_step(self, first_step: int) -> int | None:
        """Returns the global step to stop at."""
        return first_step + self.steps if self.steps is not None else self.max_steps


def train(
    model: Model,
    input_fn: Callable[..., Any],
    limits: TrainingLimits,
    hooks: Sequence[Any] = (),
    saving_listeners: Sequence[Any] = (),
) -> None:
    """Trains a model.

    Raises:
      NanLossError: the loss or a weight is not finite.
      KeyboardInterrupt: on SIGINT, after saving.
      SystemExit: with 143 on SIGTERM, after saving.
      UserError: the model_dir's checkpoints are of another model, or all damaged.
    """
    snapshot = model.state.newest()
    first_step = snapshot.step if snapshot else 0
    if limits.max_steps is not None and first_step >= limits.max_steps:
        logging.info("Skipping training since max_steps has already been reached (step %d)", first_step)
        return
    call = _TrainingCall(model, snapshot, limits, hooks, saving_listeners)
    model.is_training = True
    try:
        call.run(input_fn)
    finally:
        model.is_training = False


class _TrainingCall:
    """The parts of one call of `train`, put together step by step."""

    def __init__(
        self,
        model: Model,
        snapshot: Snapshot | None,
        limits: TrainingLimits,
        hooks: Sequence[Any],
        saving_listeners: Sequence[Any],
    ):
        self._model = model
        self._snapshot = snapshot
        self._first_step = snapshot.step if snapshot else 0
        self._limits = limits
        self._hooks = list(hooks)
        self._saving_listeners = list(saving_listeners)
        self._deployment = model.deployment_of(ModeKeys.TRAIN)
        self._tpu_config: TPUConfig = getattr(model.config, "tpu_config", TPUConfig())
        self._events = EventWriter(model.model_dir)

    def run(self, input_fn: Callable[..., Any]) -> None:
        """Traces, restores and trains."""
        position = InputPosition(self._model.model_dir, is_writer=self._is_chief)
        streams = self._model.streams(input_fn, ModeKeys.TRAIN, self._first_step)
        num_used_steps = position.begin(self._first_step)
        layout = self._model.layout(streams, ModeKeys.TRAIN)
        if self._model.config.resume_input:
            streams = _continued(streams, input_fn, num_used_steps * layout.elements_per_step // len(streams))
        executable = self._model.programs.executable(ModeKeys.TRAIN, layout.replica_spec, self._deployment)
        payload = executable.program.payload
        chief_hooks = payload.chief_hooks if self._is_chief else ()
        self._hooks = [*_as_new(chief_hooks), *self._hooks, *_as_new(payload.hooks)]
        session = StepSession(executable.program.trace)
        with profiler_hook.serving(self._session_hooks(), self._deployment.engine) as session_hooks:
            hooks = HookRunner(session_hooks, session)
            hooks.begin()
            self._restore(executable.program)
            streams = self._from_real_first_step(streams, input_fn, position)
            executable.read_state()
            runner = StepRunner(executable, self._deployment.engine, self._model.state.changed)
            session.follow(runner)
            hooks.after_create_session()
            parts = self._parts(runner, layout, session, hooks)
            TrainLoop(parts, self._settings(), self._first_step).run(layout.host_batches(streams))
        position.end()
        self._deployment.engine.wait_for_others()  # one process writes; all may want to read that next
        self._events.close()

    def _restore(self, program: StepProgram) -> None:
        """Gives the variables the values that the call begins with."""
        if self._snapshot is not None:
            self._model.state.take(self._snapshot)
        else:
            self._model.initialise(program)
        self._model.programs.store.reset_local()
        self._keep_checkpoints_of(self._model.scaffold(program))
        self._model.state.changed()

    def _from_real_first_step(
        self, streams: list[BatchStream], input_fn: Callable[..., Any], position: InputPosition
    ) -> list[BatchStream]:
        """Starts over where first values, which are loaded by now, include the step of another training."""
        step = int(self._model.programs.store.global_step.numpy())
        if step == self._first_step:
            return streams
        self._first_step = step
        position.restart(step)
        knows_start = "start_step" in calls.argument_names(input_fn)
        return self._model.streams(input_fn, ModeKeys.TRAIN, step) if knows_start else streams

    def _keep_checkpoints_of(self, scaffold: Any) -> None:
        """Keeps the checkpoints that a Scaffold's own Saver would keep."""
        saver = getattr(scaffold, "saver", None)
        if saver is not None:
            policy = RetentionPolicy(saver._max_to_keep, saver._keep_checkpoint_every_n_hours)
            self._model.directory.keep_more(policy)

    def _session_hooks(self) -> list[Any]:
        """The hooks to run by TensorFlow 1's protocol: savers and progress hooks are served otherwise."""
        return [hook for hook in self._hooks if not isinstance(hook, (CheckpointSaverHook, ProgressHook))]

    def _parts(self, runner: StepRunner, layout: ReplicaLayout, session: StepSession, hooks: HookRunner) -> LoopParts:
        payload, trace = runner.program.payload, runner.program.trace
        return LoopParts(
            runner=runner,
            layout=layout,
            session=session,
            hooks=hooks,
            progress_hooks=[hook for hook in self._hooks if isinstance(hook, ProgressHook)],
            checkpointer=self._checkpointer(),
            events=self._events,
            summaries=ModelSummaries(payload.summaries, trace, self._events, self._model.config.save_summary_steps),
            host_call=HostCall(payload.host_call, self._tpu_config.experimental_host_call_every_n_steps),
            interrupts=self._model.interrupts,
        )

    def _checkpointer(self) -> Checkpointer:
        """Saves as the config says, or as the program's own CheckpointSaverHook does."""
        savers = [hook for hook in self._hooks if isinstance(hook, CheckpointSaverHook)]
        listeners = [*self._saving_listeners, *(listener for hook in savers for listener in hook._listeners)]
        cadence = self._cadence(savers)
        model = self._model
        return Checkpointer(
            store=model.programs.store,
            state=model.state,
            directory=model.directory,
            cadence=cadence,
            listeners=listeners,
            is_chief=self._is_chief,
            saved_step=self._snapshot.step if self._snapshot else None,
        )

    def _cadence(self, savers: Sequence[Any]) -> Cadence:
        config = self._model.config
        if not savers:
            return Cadence(config.save_checkpoints_steps, config.save_checkpoints_secs or None, self._first_step)
        timer = savers[0]._timer
        return Cadence(timer._every_steps, timer._every_secs, self._first_step)

    @property
    def _is_chief(self) -> bool:
        return self._model.config.is_chief and self._deployment.host == 0

    def _settings(self) -> LoopSettings:
        log_steps = self._model.config.log_step_count_steps
        if log_steps and self._deployment.is_tpu:
            log_steps = _whole_loops(log_steps, self._tpu_config.iterations_per_loop)
        examples_per_step = self._deployment.global_batch_sizes.get(ModeKeys.TRAIN)
        return LoopSettings(self._limits.last_step(self._first_step), log_steps, examples_per_step)


def _as_new(hooks: Sequence[Any]) -> Sequence[Any]:
    """Returns hooks of a spec as at their first call of `train`: the original's model_fn made them anew for each."""
    for hook in hooks:
        if isinstance(hook, tf.compat.v1.train.StopAtStepHook) and hook._num_steps is not None:
            hook._last_step = None
    return hooks


def _continued(streams: list[BatchStream], input_fn: Callable[..., Any], num_used_batches: int) -> list[BatchStream]:
    """Leaves out what an interrupted call has used, unless the input_fn knows where to start."""
    if not num_used_batches or "start_step" in calls.argument_names(input_fn):
        return streams
    logging.info(
        "reading past the %d batches that the interrupted training has used (RunConfig(resume_input=False) does not)",
        num_used_batches,
    )
    return [stream.skip(num_used_batches) for stream in streams]


def _whole_loops(log_steps: int, iterations_per_loop: int | str) -> int:
    if isinstance(iterations_per_loop, str):
        return log_steps
    return math.ceil(log_steps / iterations_per_loop) * iterations_per_loop
