"""`ProfilerHook`: a profile of a step now and then, as a timeline and for TensorBoard's profile page."""

import contextlib
import posixpath
from collections.abc import Iterable, Iterator
from typing import Any

import tensorflow as tf
from absl import logging

from trainer.engine.engine import Engine
from trainer.estimator import timeline
from trainer.estimator.cadence import Cadence
from trainer.estimator.hooks import SessionRunHook


class ProfilerHook(SessionRunHook):
    """Profiles one step every `save_steps` steps or `save_secs` seconds.

    Writes `timeline-STEP.json` into `output_dir`, for chrome://tracing, as TensorFlow 1's did, and all that was found
    into `output_dir/plugins/profile`, for TensorBoard.

    It only says when and where: the engine's own profiler does the work. `tf.compat.v1.train.ProfilerHook` may be used
    in its place. `show_dataflow` and `show_memory` are of no effect.

    Raises:
      ValueError: both cadences are given, or neither.
    """

    def __init__(
        self,
        save_steps: int | None = None,
        save_secs: float | None = None,
        output_dir: str = "",
        show_dataflow: bool = True,
        show_memory: bool = False,
    ):
        del show_dataflow, show_memory
        if (save_steps is None) == (save_secs is None):
            raise ValueError("exactly one of save_steps and save_secs should be provided")
        self.save_steps = save_steps
        self.save_secs = save_secs
        self.output_dir = output_dir


class StepProfiler(SessionRunHook):
    """Does what a `ProfilerHook`, ours or TensorFlow 1's, asks for."""

    def __init__(self, output_dir: str, save_steps: int | None, save_secs: float | None, engine: Engine):
        self._output_dir = output_dir
        self._engine = engine
        self._cadence = Cadence(save_steps, save_secs, 0)
        self._num_steps = 0
        self._is_profiling = False
        self._profile = contextlib.ExitStack()

    def before_run(self, run_context: Any) -> None:
        """Begins a profile when it is time."""
        del run_context
        self._num_steps += 1
        self._is_profiling = self._cadence.is_due(self._num_steps)
        if self._is_profiling:
            self._profile.enter_context(self._engine.profiling(self._output_dir))

    def after_run(self, run_context: Any, run_values: Any) -> None:
        """Ends the profile when the step has ended."""
        del run_values
        if not self._is_profiling:
            return
        run_context.session.update_variables()
        self.close()
        self._cadence.restart(self._num_steps)
        step = run_context.session.run(tf.compat.v1.train.get_global_step())
        path = posixpath.join(self._output_dir, f"timeline-{step}.json")
        timeline.write(self._output_dir, path)
        logging.info("profiled step %d: %s, and for TensorBoard %s", step, path, self._output_dir)

    def close(self) -> None:
        """Ends the profile in progress, if there is one: no `after_run` does it for a step that failed."""
        self._profile.close()


@contextlib.contextmanager
def serving(hooks: Iterable[Any], engine: Engine) -> Iterator[list[Any]]:
    """Gives the hooks, with what does their work in the place of `ProfilerHook`s; a profile ends with the block."""
    served = [as_step_profiler(hook, engine) for hook in hooks]
    with contextlib.ExitStack() as profiles:
        for hook in served:
            if isinstance(hook, StepProfiler):
                profiles.callback(hook.close)
        yield served


def as_step_profiler(hook: Any, engine: Engine) -> Any:
    """Returns what runs in the place of a `ProfilerHook`; any other hook is returned as it is."""
    if isinstance(hook, ProfilerHook):
        return StepProfiler(hook.output_dir, hook.save_steps, hook.save_secs, engine)
    if isinstance(hook, tf.compat.v1.train.ProfilerHook):
        timer = hook._timer
        return StepProfiler(posixpath.dirname(hook._output_file), timer._every_steps, timer._every_secs, engine)
    return hook
