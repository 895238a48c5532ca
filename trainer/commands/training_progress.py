"""What `train` shows while it runs: one line with step, loss, images per second and time left; one per evaluation."""

import math
import sys
from collections.abc import Mapping
from typing import Any

from absl import logging as absl_logging

from trainer.commands import evaluation_report, terminal
from trainer.estimator.hooks import Progress, ProgressHook
from trainer.experiment import Experiment


class TrainingProgress(ProgressHook):
    """Draws the progress line of one training; also measures its speed, evaluations left out."""

    def __init__(self, experiment: Experiment):
        self._experiment = experiment
        self._line = terminal.ProgressLine()
        self._num_images = 0.0
        self._training_secs = 0.0
        self._previous_step: int | None = None
        self._messages_apart = terminal.MessagesApart(self._line, absl_logging.get_absl_logger())

    @property
    def mean_images_per_sec(self) -> float | None:
        """Images trained on per second, over all progress reports so far; None before the second."""
        return self._num_images / self._training_secs if self._training_secs else None

    def on_progress(self, progress: Progress) -> None:
        """Draws the line."""
        self._measure(progress)
        self._line.show(progress_text(progress, self._experiment.num_train_steps, self._experiment.steps_per_epoch))

    def show_evaluation(self, step: int, metrics: Mapping[str, Any]) -> None:
        """Prints what an evaluation found, on a line that stays."""
        names = {"accuracy": "top_1_accuracy", **{name: name for name in evaluation_report.top_k_names(metrics)}}
        shown = [f"{name.replace('_', ' ')} {float(metrics[key]):.4f}" for name, key in names.items()]
        epoch = step / self._experiment.steps_per_epoch
        text = f"epoch {epoch:.1f}, step {step:,}: {', '.join(shown)}, loss {float(metrics['loss']):.4f}"
        with self._line.set_aside():
            print(text, file=sys.stderr)

    def close(self) -> None:
        """Ends the line, and the watch over the log."""
        self._line.close()
        self._messages_apart.close()

    def _measure(self, progress: Progress) -> None:
        if self._previous_step is not None and progress.steps_per_sec:
            num_steps = progress.step - self._previous_step
            self._training_secs += num_steps / progress.steps_per_sec
            self._num_images += num_steps * self._experiment.config.loop.global_batch_size
        self._previous_step = progress.step


def progress_text(progress: Progress, num_train_steps: int, steps_per_epoch: float) -> str:
    """Returns the progress line."""
    parts = [
        f"step {progress.step:,}/{num_train_steps:,}",
        f"epoch {progress.step / steps_per_epoch:.1f}",
        f"loss {progress.loss:.4f}",
    ]
    if progress.examples_per_sec and math.isfinite(progress.examples_per_sec):
        remaining_secs = (num_train_steps - progress.step) / progress.steps_per_sec
        parts += [f"{progress.examples_per_sec:,.0f} images/s", f"{terminal.format_duration(remaining_secs)} left"]
    return ", ".join(parts)
