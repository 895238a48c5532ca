"""Early stopping: hooks that read the evaluations' events and end the training."""

import collections
import functools
import posixpath
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import tensorflow as tf
from absl import logging

from trainer.errors import UserError
from trainer.estimator.cadence import Cadence
from trainer.estimator.eager import eagerly
from trainer.estimator.hooks import SessionRunHook

DEFAULT_SECS = 60


class EarlyStoppingHook(SessionRunHook):
    """Asks whether to stop: after the first step, because a training may be started again, then now and then."""

    def __init__(self, should_stop_fn: Callable[[], bool], run_every_secs: float | None, run_every_steps: int | None):
        self._should_stop_fn = should_stop_fn
        self._cadence = Cadence(run_every_steps, run_every_secs, 0)
        self._num_steps = 0

    def after_run(self, run_context: Any, run_values: Any) -> None:
        """Asks when it is time."""
        self._num_steps += 1
        if self._num_steps > 1 and not self._cadence.is_due(self._num_steps):
            return
        self._cadence.restart(self._num_steps)
        if self._should_stop_fn():
            logging.info("early stopping: training ends")
            run_context.request_stop()


def make_early_stopping_hook(
    estimator: Any,
    should_stop_fn: Callable[[], bool],
    run_every_secs: float | None = DEFAULT_SECS,
    run_every_steps: int | None = None,
) -> EarlyStoppingHook:
    """Returns a hook that ends the training when `should_stop_fn()` says so.

    Args:
      estimator: the one that trains.
      should_stop_fn: called without arguments.
      run_every_secs, run_every_steps: how often it is asked; give one of them.
    """
    if not hasattr(estimator, "train"):
        raise TypeError(f"`estimator` must have type `Estimator`, got {type(estimator).__name__}")
    if not callable(should_stop_fn):
        raise TypeError(f"`should_stop_fn` must be callable, got {should_stop_fn!r}")
    if run_every_secs is not None and run_every_steps is not None:
        raise ValueError("Only one of `run_every_secs` and `run_every_steps` must be set")
    if run_every_secs is None and run_every_steps is None:
        raise ValueError("One of `run_every_secs` and `run_every_steps` must be set")
    return EarlyStoppingHook(should_stop_fn, run_every_secs, run_every_steps)


def stop_if_higher_hook(
    estimator: Any,
    metric_name: str,
    threshold: float,
    eval_dir: str | None = None,
    min_steps: int = 0,
    run_every_secs: float | None = DEFAULT_SECS,
    run_every_steps: int | None = None,
) -> EarlyStoppingHook:
    """Returns a hook that ends the training when an evaluation's metric is above the threshold."""
    decide = functools.partial(_crosses_threshold, threshold=threshold, sign=1)
    return _metric_hook(estimator, _Metric(metric_name, eval_dir, min_steps), decide, run_every_secs, run_every_steps)


def stop_if_lower_hook(
    estimator: Any,
    metric_name: str,
    threshold: float,
    eval_dir: str | None = None,
    min_steps: int = 0,
    run_every_secs: float | None = DEFAULT_SECS,
    run_every_steps: int | None = None,
) -> EarlyStoppingHook:
    """Returns a hook that ends the training when an evaluation's metric is below the threshold."""
    decide = functools.partial(_crosses_threshold, threshold=threshold, sign=-1)
    return _metric_hook(estimator, _Metric(metric_name, eval_dir, min_steps), decide, run_every_secs, run_every_steps)


def stop_if_no_increase_hook(
    estimator: Any,
    metric_name: str,
    max_steps_without_increase: int,
    eval_dir: str | None = None,
    min_steps: int = 0,
    run_every_secs: float | None = DEFAULT_SECS,
    run_every_steps: int | None = None,
) -> EarlyStoppingHook:
    """Returns a hook that ends the training when a metric has not grown for so many steps."""
    decide = functools.partial(_stands_still, max_steps=max_steps_without_increase, sign=1)
    return _metric_hook(estimator, _Metric(metric_name, eval_dir, min_steps), decide, run_every_secs, run_every_steps)


def stop_if_no_decrease_hook(
    estimator: Any,
    metric_name: str,
    max_steps_without_decrease: int,
    eval_dir: str | None = None,
    min_steps: int = 0,
    run_every_secs: float | None = DEFAULT_SECS,
    run_every_steps: int | None = None,
) -> EarlyStoppingHook:
    """Returns a hook that ends the training when a metric has not fallen for so many steps."""
    decide = functools.partial(_stands_still, max_steps=max_steps_without_decrease, sign=-1)
    return _metric_hook(estimator, _Metric(metric_name, eval_dir, min_steps), decide, run_every_secs, run_every_steps)


@eagerly
def read_eval_metrics(eval_dir: str) -> Mapping[int, Mapping[str, float]]:
    """Returns the metrics of all evaluations in a directory of events, by global step, in the order of steps."""
    found: dict[int, dict[str, float]] = collections.defaultdict(dict)
    for path in sorted(tf.io.gfile.glob(posixpath.join(eval_dir, "*tfevents*"))):
        for record in tf.data.TFRecordDataset(path):
            event = tf.compat.v1.Event.FromString(record.numpy())
            for value in event.summary.value:
                if value.HasField("simple_value"):
                    found[event.step][value.tag] = value.simple_value
    return {step: found[step] for step in sorted(found)}


class _Metric(NamedTuple):
    """A metric of the evaluations whose events are in `eval_dir`, from step `min_steps` on."""

    name: str
    eval_dir: str | None
    min_steps: int


# Takes the values of a metric by step, in order.
_Decision = Callable[[Mapping[int, float]], bool]


def _metric_hook(
    estimator: Any, metric: _Metric, decide: _Decision, run_every_secs: float | None, run_every_steps: int | None
) -> EarlyStoppingHook:
    def should_stop() -> bool:
        results = read_eval_metrics(metric.eval_dir or estimator.eval_dir())
        _check_reported(metric.name, results)
        values = {
            step: result[metric.name]
            for step, result in results.items()
            if metric.name in result and step >= metric.min_steps
        }
        return decide(values)

    return make_early_stopping_hook(estimator, should_stop, run_every_secs, run_every_steps)


def _check_reported(name: str, results: Mapping[int, Mapping[str, float]]) -> None:
    reported = sorted({tag for result in results.values() for tag in result})
    if reported and name not in reported:
        raise UserError(
            f"no evaluation reports {name!r}", where="early stopping", remedy=f"take one of {', '.join(reported)}"
        )


def _crosses_threshold(values: Mapping[int, float], threshold: float, sign: int) -> bool:
    return any(sign * value > sign * threshold for value in values.values())


def _stands_still(values: Mapping[int, float], max_steps: int, sign: int) -> bool:
    best_value, best_step = None, 0
    for step, value in values.items():
        if best_value is None or sign * value > sign * best_value:
            best_value, best_step = value, step
        elif step - best_step >= max_steps:
            return True
    return False
