"""`ExamplesPerSecondHook`: the speed of training in examples, as TPUEstimator's own hook told it."""

from typing import Any

import tensorflow as tf
from absl import logging


class ExamplesPerSecondHook(tf.compat.v1.train.StepCounterHook):
    """Logs `global_step/sec` and `examples/sec`, and writes them as events.

    Training does that by itself every `log_step_count_steps`; this hook is for programs that ask for another pace.

    Args:
      batch_size: examples of a step, over all replicas.
      every_n_steps, every_n_secs: how often; give one of them.
      output_dir: the directory of the events.
      summary_writer: in place of `output_dir`, what writes them.
    """

    def __init__(
        self,
        batch_size: int,
        every_n_steps: int | None = 100,
        every_n_secs: float | None = None,
        output_dir: str | None = None,
        summary_writer: Any = None,
    ):
        self._batch_size = batch_size
        super().__init__(every_n_steps, every_n_secs, output_dir, summary_writer)

    def _log_and_record(self, elapsed_steps: int, elapsed_time: float, global_step: int) -> None:
        super()._log_and_record(elapsed_steps, elapsed_time, global_step)
        examples_per_sec = self._batch_size * elapsed_steps / elapsed_time
        logging.info("examples/sec: %g", examples_per_sec)
        if self._summary_writer is not None:
            summary = tf.compat.v1.Summary()
            summary.value.add(tag="examples/sec", simple_value=examples_per_sec)
            self._summary_writer.add_summary(summary, global_step)
