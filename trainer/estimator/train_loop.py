"""The training loop: steps without waiting for them, and a look at the loss now and then."""

import dataclasses
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
from absl import logging

from trainer.engine import host_values
from trainer.estimator.cadence import Cadence
from trainer.estimator.checkpointer import Checkpointer
from trainer.estimator.events import EventWriter
from trainer.estimator.hooks import END_OF_DATA, HookRunner, Progress, ProgressHook, StepRequest
from trainer.estimator.host_call import HostCall
from trainer.estimator.interrupts import Interrupts
from trainer.estimator.model_summaries import ModelSummaries
from trainer.estimator.replica_batches import ReplicaLayout
from trainer.estimator.session import StepSession
from trainer.estimator.step_runner import StepRunner

# Losses are looked at so often even when nobody wants them logged: a NaN must not go unnoticed for long.
_DEFAULT_LOOK_STEPS = 100


@dataclasses.dataclass(frozen=True)
class LoopSettings:
    """When what happens.

    Fields:
      last_step: the global step to stop at; None for the end of the data.
      log_steps: steps between log lines; None for none.
      examples_per_step: over all replicas; None counts those of the first tensor.
    """

    last_step: int | None
    log_steps: int | None = 100
    examples_per_step: int | None = None


class SpeedMeter:
    """Steps per second since the last look, pauses left out."""

    def __init__(self, step: int):
        self._step = step
        self._start_secs = time.monotonic()

    def pause(self, secs: float) -> None:
        """Leaves out time that was not spent on steps."""
        self._start_secs += secs

    def steps_per_sec(self, step: int) -> float:
        """Returns the speed since the last call, and starts anew."""
        now_secs = time.monotonic()
        speed = (step - self._step) / max(now_secs - self._start_secs, 1e-9)
        self._step, self._start_secs = step, now_secs
        return speed


@dataclasses.dataclass(frozen=True)
class LoopParts:
    """What a training loop works with."""

    runner: StepRunner
    layout: ReplicaLayout
    session: StepSession
    hooks: HookRunner
    progress_hooks: Sequence[ProgressHook]
    checkpointer: Checkpointer
    events: EventWriter
    summaries: ModelSummaries
    host_call: HostCall
    interrupts: Interrupts


class TrainLoop:
    """One call of `train`, from its first step to its last."""

    def __init__(self, parts: LoopParts, settings: LoopSettings, first_step: int):
        self._parts = parts
        self._settings = settings
        self._step = first_step
        self._unseen_losses: list[tuple[int, Any]] = []
        self._latest: Mapping[str, Any] = {}
        self._request: StepRequest | None = None
        self._num_examples = 0
        self._speed = SpeedMeter(first_step)
        self._log_cadence = Cadence(settings.log_steps or _DEFAULT_LOOK_STEPS, None, first_step)
        self._looked_at_step = first_step
        self._num_runs_of_step = 0

    def run(self, batches: Iterator[Sequence[tf.Tensor]]) -> int:
        """Trains until the last step, the end of the data, or a hook's wish; returns the global step reached."""
        with self._parts.interrupts.watching():
            self._parts.checkpointer.begin(self._parts.session, self._step)
            try:
                while not self._is_done() and self._advance(next(batches)):
                    pass
            except END_OF_DATA:
                logging.info("the data end at step %d", self._step)
            self._finish()
        return self._step

    def _is_done(self) -> bool:
        return self._settings.last_step is not None and self._step >= self._settings.last_step

    def _advance(self, batch: Sequence[tf.Tensor]) -> bool:
        """Runs a step and what is due after it; returns whether training goes on."""
        self._run_step(batch)
        if self._log_cadence.is_due(self._step):
            self._look()
        is_stopped = self._parts.checkpointer.is_due(self._step) and self._save()
        # After the checkpoint, as in TensorFlow 1: hooks may look at its evaluation, and what they change is not in it.
        self._call_hooks()
        if self._parts.interrupts.is_pending:
            self._save()
            self._parts.interrupts.raise_pending()
        return not (is_stopped or self._parts.hooks.stop_requested)

    def _run_step(self, host_batch: Sequence[tf.Tensor]) -> None:
        parts = self._parts
        self._request = parts.hooks.before_step() if parts.hooks.acts_on_steps else None
        outputs = parts.runner.run(parts.layout.divide(host_batch), self._request)
        self._latest = outputs
        self._count_step(_step_after(self._step, outputs["global_step"]))
        self._num_examples = self._settings.examples_per_step or _num_examples(host_batch)
        self._unseen_losses.append((self._step, outputs["loss"]))
        parts.summaries.add(self._step, outputs)
        parts.host_call.add(self._step, outputs)

    def _count_step(self, step: int) -> None:
        """Takes note of the global step; warns when the train_op leaves it as it is: such a training may never end."""
        self._num_runs_of_step = self._num_runs_of_step + 1 if step == self._step else 0
        self._step = step
        if self._num_runs_of_step and self._num_runs_of_step % _DEFAULT_LOOK_STEPS == 0:
            self._check_losses()
            logging.warning(
                "the global step is still %d after %d runs of the train_op: pass tf.compat.v1.train.get_global_step() "
                "to the optimizer's minimize or apply_gradients",
                step, self._num_runs_of_step,
            )  # fmt: skip

    def _call_hooks(self) -> None:
        if self._request is not None:
            self._parts.hooks.after_step(self._latest.get("fetches", {}))

    def _look(self) -> None:
        """Waits for the steps so far, and tells of the latest."""
        self._check_losses()
        self._parts.host_call.flush()
        self._log_cadence.restart(self._step)
        self._looked_at_step = self._step
        progress = self._progress()
        if self._settings.log_steps:
            self._report(progress)
        for hook in self._parts.progress_hooks:
            hook.on_progress(progress)

    def _check_losses(self) -> None:
        if not self._unseen_losses:
            return
        steps, losses = zip(*self._unseen_losses, strict=True)
        values = np.array([host_values.array(loss) for loss in losses], np.float64)
        self._unseen_losses = []
        self._step = int(host_values.array(self._latest["global_step"]))
        for step, value in zip(steps, values, strict=True):
            if not np.isfinite(value):
                raise self._parts.checkpointer.diverged(f"NaN loss during training: the loss is {value}", step)

    def _progress(self) -> Progress:
        steps_per_sec = self._speed.steps_per_sec(self._step)
        return Progress(
            step=self._step,
            last_step=self._settings.last_step,
            loss=float(host_values.array(self._latest["loss"])),
            scalars={name: float(host_values.array(value)) for name, value in self._latest.get("scalars", {}).items()},
            steps_per_sec=steps_per_sec,
            examples_per_sec=steps_per_sec * self._num_examples,
        )

    def _report(self, progress: Progress) -> None:
        scalars = "".join(f", {name} = {value:.6g}" for name, value in progress.scalars.items())
        logging.info(
            "loss = %.6g, step = %d (%.4g steps/sec, %.4g examples/sec)%s",
            progress.loss, progress.step, progress.steps_per_sec, progress.examples_per_sec, scalars,
        )  # fmt: skip
        loss = {} if self._parts.summaries.are_written_of(progress.step) else {"loss": progress.loss}
        speeds = {"global_step/sec": progress.steps_per_sec, "examples/sec": progress.examples_per_sec}
        self._parts.events.scalars({**loss, **progress.scalars, **speeds}, progress.step)
        self._parts.events.flush()

    def _save(self) -> bool:
        """Saves a checkpoint; returns whether a listener wants training to stop."""
        self._check_losses()
        start_secs = time.monotonic()
        self._parts.runner.write_state()
        wants_stop = self._parts.checkpointer.save(self._parts.session, self._step)
        self._speed.pause(time.monotonic() - start_secs)
        return wants_stop

    def _finish(self) -> None:
        if self._looked_at_step != self._step:
            self._look()
        self._parts.runner.write_state()
        self._parts.checkpointer.end(self._parts.session, self._step)
        self._parts.hooks.end()
        self._parts.host_call.close()
        self._parts.events.flush()


def _step_after(step: int, global_step: Any) -> int:
    """Returns the global step after one more step; reads it where that needs no waiting for a device."""
    return int(global_step) if isinstance(global_step, tf.Tensor) else step + 1


def _num_examples(host_batch: Sequence[tf.Tensor]) -> int:
    return int(host_batch[0].shape[0]) if host_batch and host_batch[0].shape.rank else 1
