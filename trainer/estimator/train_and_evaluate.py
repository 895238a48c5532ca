"""`train_and_evaluate`: one training, with an evaluation and the exporters after its checkpoints."""

import dataclasses
import posixpath
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import tensorflow as tf
from absl import logging

from trainer.estimator import exporters as exporter_list
from trainer.estimator.estimator import Estimator

_DEFAULT_EVAL_STEPS = 100


@dataclasses.dataclass(frozen=True)
class TrainSpec:
    """How to train.

    Fields:
      input_fn: see `Estimator.train`.
      max_steps: the global step to train up to; None for the end of the data.
      hooks: `SessionRunHook`s.
      saving_listeners: `tf.compat.v1.train.CheckpointSaverListener`s.
    """

    input_fn: Callable[..., Any]
    max_steps: int | None = None
    hooks: Sequence[Any] | None = None
    saving_listeners: Sequence[Any] | None = None

    def __post_init__(self):
        _check_callable(self.input_fn)
        if self.max_steps is not None and self.max_steps <= 0:
            raise ValueError(f"Must specify max_steps > 0, given: {self.max_steps}")
        _freeze_hooks(self)


@dataclasses.dataclass(frozen=True)
class EvalSpec:
    """How to evaluate, while and after training.

    Fields:
      input_fn: see `Estimator.evaluate`.
      steps: batches of each evaluation; None for all data.
      name: see `Estimator.evaluate`.
      hooks: `SessionRunHook`s.
      exporters: an `Exporter` or a sequence of them, offered each evaluated checkpoint.
      start_delay_secs: seconds of training before the first evaluation, for an evaluator of its own.
      throttle_secs: seconds at least between the starts of two evaluations; the last checkpoint is always evaluated.
    """

    input_fn: Callable[..., Any]
    steps: int | None = _DEFAULT_EVAL_STEPS
    name: str | None = None
    hooks: Sequence[Any] | None = None
    exporters: Any = None
    start_delay_secs: float = 120
    throttle_secs: float = 600

    def __post_init__(self):
        _check_callable(self.input_fn)
        if self.steps is not None and self.steps <= 0:
            raise ValueError(f"Must specify steps > 0, given: {self.steps}")
        if self.name is not None and not isinstance(self.name, str):
            raise TypeError(f"`name` must be string, given: {self.name!r}")
        for name in ("start_delay_secs", "throttle_secs"):
            if getattr(self, name) < 0:
                raise ValueError(f"Must specify {name} >= 0, given: {getattr(self, name)}")
        _freeze_hooks(self)
        object.__setattr__(self, "exporters", exporter_list.checked(self.exporters))


def train_and_evaluate(
    estimator: Estimator, train_spec: TrainSpec, eval_spec: EvalSpec
) -> tuple[Mapping[str, Any], list[Any]]:
    """Trains to `max_steps`; evaluates and exports after checkpoints, and at the end.

    The evaluation's program is traced once. The pace of evaluations is that of checkpoints, throttled.

    With a TF_CONFIG that has a cluster: the chief does this alone, the task `evaluator` watches the model_dir and
    evaluates what appears there; other tasks are refused.

    Returns:
      The metrics of the last evaluation, and what the exporters returned after it.

    Raises:
      ValueError: this task is a parameter server or a worker beside a chief.
    """
    if not isinstance(estimator, Estimator):
        raise TypeError(f"`estimator` must have type `Estimator`, given {type(estimator).__name__}")
    rounds = EvaluationRounds(estimator, train_spec, eval_spec)
    task_type, cluster = estimator.config.task_type, estimator.config.cluster_spec.as_dict()
    if task_type == "evaluator":
        return rounds.watch()
    if cluster and not estimator.config.is_chief:
        raise ValueError(
            f"TF_CONFIG makes this task a {task_type!r}: parameter servers and workers of TensorFlow 1 do not exist "
            f"here; run one chief, which uses all its devices through TPUEstimator, and at most one evaluator"
        )
    listener = _EvaluationListener(rounds, train_spec.max_steps)
    estimator.train(
        train_spec.input_fn,
        hooks=train_spec.hooks,
        max_steps=train_spec.max_steps,
        saving_listeners=[*(train_spec.saving_listeners or ()), *([] if cluster else [listener])],
    )
    return rounds.latest or rounds.run(is_final=True)


class EvaluationRounds:
    """Evaluates and exports checkpoints, one round after another."""

    def __init__(self, estimator: Estimator, train_spec: TrainSpec, eval_spec: EvalSpec):
        self._estimator = estimator
        self._max_steps = train_spec.max_steps
        self._spec = eval_spec
        self._evaluated: str | None = None
        self._start_secs: float | None = None
        self.latest: tuple[Mapping[str, Any], list[Any]] | None = None

    @property
    def is_throttled(self) -> bool:
        """Whether it is too early for another round."""
        return self._start_secs is not None and time.monotonic() - self._start_secs < self._spec.throttle_secs

    def run(self, *, is_final: bool) -> tuple[Mapping[str, Any], list[Any]]:
        """Evaluates the newest checkpoint and offers it to the exporters; returns metrics and their answers."""
        self._start_secs = time.monotonic()
        estimator, spec = self._estimator, self._spec
        path = estimator.latest_checkpoint()
        metrics = estimator.evaluate(spec.input_fn, spec.steps, spec.hooks, path, spec.name)
        exported = [
            exporter.export(
                estimator=estimator,
                export_path=posixpath.join(estimator.model_dir, "export", exporter.name),
                checkpoint_path=path,
                eval_result=metrics,
                is_the_final_export=is_final,
            )
            for exporter in spec.exporters
        ]
        self._evaluated = path
        self.latest = metrics, exported
        return self.latest

    def watch(self) -> tuple[Mapping[str, Any], list[Any]]:
        """Evaluates each new checkpoint of the model_dir, until the one at `max_steps`."""
        time.sleep(self._spec.start_delay_secs)
        while True:
            start_secs = time.monotonic()
            path = self._estimator.latest_checkpoint()
            if path is None or path == self._evaluated:
                logging.info("waiting for a new checkpoint in %s", self._estimator.model_dir)
            elif self._is_final(path):
                return self.run(is_final=True)
            else:
                self.run(is_final=False)
            time.sleep(max(1.0, self._spec.throttle_secs - (time.monotonic() - start_secs)))

    def _is_final(self, path: str) -> bool:
        step = int(tf.train.load_variable(path, "global_step"))
        return self._max_steps is not None and step >= self._max_steps


class _EvaluationListener(tf.compat.v1.train.CheckpointSaverListener):
    """Evaluates after checkpoints, and once more at the end."""

    def __init__(self, rounds: EvaluationRounds, max_steps: int | None):
        self._rounds = rounds
        self._max_steps = max_steps

    def after_save(self, session: Any, global_step_value: int) -> None:
        """Evaluates, unless it is too early for that; the first values are not evaluated, the last by `end`."""
        del session
        is_last = self._max_steps is not None and global_step_value >= self._max_steps
        if global_step_value and not is_last and not self._rounds.is_throttled:
            self._rounds.run(is_final=False)

    def end(self, session: Any, global_step_value: int) -> None:
        """Evaluates the last checkpoint, whatever the throttle says."""
        del session, global_step_value
        self._rounds.run(is_final=True)


def _check_callable(input_fn: Any) -> None:
    if not callable(input_fn):
        raise TypeError(f"`input_fn` must be callable, given: {input_fn!r}")


def _freeze_hooks(spec: Any) -> None:
    for name in ("hooks", "saving_listeners"):
        if hasattr(spec, name):
            object.__setattr__(spec, name, tuple(getattr(spec, name) or ()))
    for hook in spec.hooks:
        if not isinstance(hook, tf.compat.v1.train.SessionRunHook):
            raise TypeError(f"All hooks must be `SessionRunHook` instances, given: {hook!r}")
