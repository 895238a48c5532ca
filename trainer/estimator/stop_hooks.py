"""Hooks that end the training of every task of a cluster at the same step."""

import time
from typing import Any

import tensorflow as tf
from absl import logging

from trainer.estimator import checkpoints
from trainer.estimator.checkpoints import CheckpointDirectory
from trainer.estimator.hooks import SessionRunArgs, SessionRunHook


def make_stop_at_checkpoint_step_hook(
    estimator: Any, last_step: int, wait_after_file_check_secs: float = 30
) -> SessionRunHook:
    """Returns a hook that ends the training at a global step; elsewhere than on the chief, once that step is saved.

    Args:
      estimator: the one that trains.
      last_step: the global step.
      wait_after_file_check_secs: pause between looks at the model_dir.
    """
    if estimator.config.is_chief:
        return tf.compat.v1.train.StopAtStepHook(last_step=last_step)
    return StopAtCheckpointStepHook(estimator.model_dir, last_step, wait_after_file_check_secs)


class StopAtCheckpointStepHook(SessionRunHook):
    """Goes on training until the chief has saved a step."""

    def __init__(self, model_dir: str, last_step: int, wait_after_file_check_secs: float = 30):
        if last_step is None:
            raise ValueError("last_step must be specified")
        if model_dir is None:
            raise ValueError("model_dir must be specified")
        self._directory = CheckpointDirectory(model_dir)
        self._last_step = last_step
        self._wait_secs = wait_after_file_check_secs

    def before_run(self, run_context: Any) -> Any:
        """Asks for the step."""
        del run_context
        return SessionRunArgs(tf.compat.v1.train.get_global_step())

    def after_run(self, run_context: Any, run_values: Any) -> None:
        """Looks for the checkpoint when the step is reached."""
        if run_values.results + 1 < self._last_step:
            return
        latest = self._directory.latest()
        if latest is not None and checkpoints.step_of(latest) >= self._last_step:
            run_context.request_stop()
        else:
            logging.info("waiting for the chief's checkpoint of step %d", self._last_step)
            time.sleep(self._wait_secs)
