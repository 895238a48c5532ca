"""`train_and_evaluate`: one training, with an evaluation and the exporters after its checkpoints."""

import dataclasses
import posixpath
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import tensorflow as tf
from absl import logging

from trainer.engine.spec import TakenForNamedTuple
from trainer.estimator import checkpoints
from trainer.estimator import exporters as exporter_list
from trainer.estimator.estimator import Estimator

_DEFAULT_EVAL_STEPS = 100


@dataclasses.dataclass(frozen=True)
class TrainSpec(TakenForNamedTuple):
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
class EvalSpec(TakenForNamedTuple):
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

    With a TF_CONFIG that has a cluster: the chief trains and no more; the task `evaluator` watches the model_dir,
    evaluates and exports what appears there; a `master` does all of it, as without a cluster; other tasks are refused.

    Returns:
      The metrics of the last evaluation, and what the exporters returned after it; nothing on the chief of a cluster.

    Raises:
      ValueError: this task is a parameter server or a worker beside a chief.
    """
    _check_kind("estimator", estimator, Estimator)
    _check_kind("train_spec", train_spec, TrainSpec)
    _check_kind("eval_spec", eval_spec, EvalSpec)
    rounds = EvaluationRounds(estimator, train_spec, eval_spec)
    task_type, cluster = estimator.config.task_type, estimator.config.cluster_spec.as_dict()
    if task_type == "evaluator":
        return rounds.watch()
    if cluster and not estimator.config.is_chief:
        raise ValueError(
            f"TF_CONFIG makes this task a {task_type!r}: parameter servers and workers of TensorFlow 1 do not exist "
            f"here; run one chief, which uses all its devices through TPUEstimator, and at most one evaluator"
        )
    only_trains = bool(cluster) and task_type != "master"
    listeners = [*(train_spec.saving_listeners or ())]
    if not only_trains:
        listeners.append(_EvaluationListener(rounds, train_spec.max_steps))
    estimator.train(
        train_spec.input_fn, hooks=train_spec.hooks, max_steps=train_spec.max_steps, saving_listeners=listeners
    )
    if only_trains:
        logging.info("the chief of a cluster only trains: its task `evaluator` evaluates and exports")
        return {}, []
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

    def run(self, *, is_final: bool, path: str | None = None) -> tuple[Mapping[str, Any], list[Any]]:
        """Evaluates a checkpoint, or the newest, and offers it to the exporters; returns metrics and their answers.

        One that has just been evaluated, and turns out to be the last, is only offered again to those that did not
        export it.
        """
        path = path or self._estimator.latest_checkpoint()
        metrics, exported = self.latest if self.latest and path == self._evaluated else self._evaluate(path)
        exported = [
            answer or self._offer(exporter, path, metrics, is_final=is_final)
            for answer, exporter in zip(exported, self._spec.exporters, strict=True)
        ]
        self._evaluated = path
        self.latest = metrics, exported
        return self.latest

    def _evaluate(self, path: str | None) -> tuple[Mapping[str, Any], list[Any]]:
        """Returns the metrics of a checkpoint, and that no exporter has answered yet."""
        self._start_secs = time.monotonic()
        spec = self._spec
        metrics = self._estimator.evaluate(spec.input_fn, spec.steps, spec.hooks, path, spec.name)
        return metrics, [None] * len(spec.exporters)

    def _offer(self, exporter: Any, path: str | None, metrics: Mapping[str, Any], *, is_final: bool) -> Any:
        return exporter.export(
            estimator=self._estimator,
            export_path=posixpath.join(self._estimator.model_dir, "export", exporter.name),
            checkpoint_path=path,
            eval_result=metrics,
            is_the_final_export=is_final,
        )

    def watch(self) -> tuple[Mapping[str, Any], list[Any]]:
        """Evaluates each new checkpoint of the model_dir, until the one at `max_steps`."""
        time.sleep(self._spec.start_delay_secs)
        is_final = False
        while not is_final:
            start_secs = time.monotonic()
            is_final = self._evaluate_if_new()
            if not is_final:
                time.sleep(max(1.0, self._spec.throttle_secs - (time.monotonic() - start_secs)))
        return self.latest or ({}, [])

    def _evaluate_if_new(self) -> bool:
        """Evaluates the newest checkpoint, unless it has been; returns whether it is the last of the training."""
        path = self._estimator.latest_checkpoint()
        if path is None or path == self._evaluated:
            logging.info("waiting for a new checkpoint in %s", self._estimator.model_dir)
            return False
        try:
            is_final = self._max_steps is not None and checkpoints.global_step(path) >= self._max_steps
            # This one, even if there is a newer one by now, which may be the last.
            self.run(is_final=is_final, path=path)
        except checkpoints.DamagedCheckpointError:
            if tf.io.gfile.exists(f"{path}.index"):
                raise
            logging.warning("the chief has removed %s meanwhile: waiting for the next checkpoint", path)
            return False
        return is_final


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


def _check_kind(name: str, value: Any, kind: type) -> None:
    if not isinstance(value, kind):
        raise TypeError(f"`{name}` must have type `{kind.__name__}`, given {type(value).__name__}")


def _check_callable(input_fn: Any) -> None:
    if not callable(input_fn):
        raise TypeError(f"`input_fn` must be callable, given: {input_fn!r}")


def _freeze_hooks(spec: Any) -> None:
    train = tf.compat.v1.train
    for name, kind in (("hooks", train.SessionRunHook), ("saving_listeners", train.CheckpointSaverListener)):
        if not hasattr(spec, name):
            continue
        given = tuple(getattr(spec, name) or ())
        object.__setattr__(spec, name, given)
        for one in given:
            if not isinstance(one, kind):
                raise TypeError(f"All {name} must be `{kind.__name__}` instances, given: {one!r}")
