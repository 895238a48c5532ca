"""Events where Vertex AI TensorBoard looks for them; those of the estimator go to model_dir."""

import posixpath
from collections.abc import Mapping
from typing import Any

from trainer.estimator.events import EventWriter
from trainer.estimator.hooks import Progress, ProgressHook


class CloudEvents(ProgressHook):
    """Writes what the progress line shows, and every evaluation, to `directory` (AIP_TENSORBOARD_LOG_DIR)."""

    def __init__(self, directory: str):
        self._train = EventWriter(posixpath.join(directory, "train"))
        self._evaluation = EventWriter(posixpath.join(directory, "eval"))

    def on_progress(self, progress: Progress) -> None:
        """Writes one point of loss and speed."""
        values = {"loss": progress.loss, "examples_per_sec": progress.examples_per_sec}
        self._train.scalars({name: value for name, value in values.items() if value is not None}, progress.step)
        self._train.flush()

    def show_evaluation(self, step: int, metrics: Mapping[str, Any]) -> None:
        """Writes the metrics of an evaluation that are numbers."""
        self._evaluation.scalars(metrics, step)
        self._evaluation.flush()

    def close(self) -> None:
        """Ends the files."""
        self._train.close()
        self._evaluation.close()
