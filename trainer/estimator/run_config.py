"""`RunConfig`: where a model lives, and how often what is written."""

import dataclasses
import inspect
import os
from collections.abc import Mapping
from typing import Any

import tensorflow as tf

from trainer.estimator import cluster_environment
from trainer.estimator.cluster_environment import ClusterEnvironment

_DEFAULT_CHECKPOINT_SECS = 600
# Tells "not given" from None, which switches periodic checkpoints off.
USE_DEFAULT: Any = type("_UseDefault", (), {"__repr__": lambda self: "<default>"})()


@dataclasses.dataclass(frozen=True)
class RunConfig:
    """The configuration of a plain `Estimator`, and what that of `TPUEstimator` starts from.

    Fields:
      model_dir: where checkpoints and events go.
      tf_random_seed: graph-level seed of initial values and random operations.
      save_summary_steps: steps between points of the model_fn's own summaries.
      save_checkpoints_steps, save_checkpoints_secs: cadence of checkpoints; give one; None for both, or 0, is off.
      session_config: accepted for programs that give one; there are no sessions.
      keep_checkpoint_max: checkpoints to keep; None or 0 keeps all.
      keep_checkpoint_every_n_hours: one checkpoint per so many hours is kept for good.
      log_step_count_steps: steps between log lines, points of loss and speed; None for none.
      train_distribute, eval_distribute, experimental_distribute: refused, unless they are for one device.
      resume_input: ours: a `train()` that was interrupted and is called again reads past the batches that it had
        used, so that it goes on as if nothing had happened; an input_fn that takes `start_step` does so by itself.
        False starts the data over, without the time that this takes.
      device_fn, protocol, experimental_max_worker_delay_secs, session_creation_timeout_secs,
      checkpoint_save_graph_def: accepted, of no effect: they tune TensorFlow 1's distributed sessions.
    """

    model_dir: str | None = None
    tf_random_seed: int | None = None
    save_summary_steps: int | None = 100
    save_checkpoints_steps: int | None = USE_DEFAULT
    save_checkpoints_secs: int | None = USE_DEFAULT
    session_config: Any = None
    keep_checkpoint_max: int | None = 5
    keep_checkpoint_every_n_hours: float = 10000
    log_step_count_steps: int | None = 100
    train_distribute: Any = None
    device_fn: Any = None
    protocol: str | None = None
    eval_distribute: Any = None
    experimental_distribute: Any = None
    experimental_max_worker_delay_secs: int | None = None
    session_creation_timeout_secs: int = 7200
    checkpoint_save_graph_def: bool = True
    resume_input: bool = True

    def __post_init__(self):
        _set(self, "_environment", cluster_environment.from_environment())
        _set(self, "model_dir", _resolved_model_dir(self.model_dir, self._environment.model_dir))
        self._resolve_checkpoint_cadence()
        for name in ("save_summary_steps", "save_checkpoints_steps", "save_checkpoints_secs", "log_step_count_steps"):
            value = getattr(self, name)
            if value is not None and value < 0:
                raise ValueError(f"{name} should be >= 0, got {value}")
        if self.keep_checkpoint_max is not None and self.keep_checkpoint_max < 0:
            raise ValueError(f"keep_checkpoint_max should be >= 0, got {self.keep_checkpoint_max}")
        if not self.keep_checkpoint_every_n_hours > 0:
            raise ValueError(f"keep_checkpoint_every_n_hours should be > 0, got {self.keep_checkpoint_every_n_hours}")
        if self.tf_random_seed is not None and not isinstance(self.tf_random_seed, int):
            raise ValueError(f"tf_random_seed must be integer, got {self.tf_random_seed!r}")
        for name in ("train_distribute", "eval_distribute", "experimental_distribute"):
            # A strategy for one device says nothing that is not so here.
            if getattr(getattr(self, name), "num_replicas_in_sync", None) == 1:
                continue
            if getattr(self, name) is not None:
                raise ValueError(
                    f"{name} is not supported: several devices are the business of TPUEstimator's engines; "
                    f"use TPUEstimator(use_tpu=True) and a RunConfig with master='local' (or 'mock:8' to try)"
                )

    def _resolve_checkpoint_cadence(self) -> None:
        steps, secs = self.save_checkpoints_steps, self.save_checkpoints_secs
        if steps is USE_DEFAULT and secs is USE_DEFAULT:
            steps, secs = None, _DEFAULT_CHECKPOINT_SECS
        steps, secs = (None if value is USE_DEFAULT else value for value in (steps, secs))
        if steps is not None and secs is not None:
            raise ValueError("Can not provide both save_checkpoints_steps and save_checkpoints_secs; give one of them")
        _set(self, "save_checkpoints_steps", steps)
        _set(self, "save_checkpoints_secs", secs)

    _environment: ClusterEnvironment = dataclasses.field(init=False, repr=False, compare=False, default=None)  # type: ignore[assignment]

    @property
    def cluster_spec(self) -> tf.train.ClusterSpec:
        """The cluster of TF_CONFIG."""
        return self._environment.cluster_spec

    @property
    def task_type(self) -> str:
        """This task's type in TF_CONFIG; `worker` without."""
        return self._environment.task_type

    @property
    def task_id(self) -> int:
        """This task's number among those of its type."""
        return self._environment.task_id

    @property
    def is_chief(self) -> bool:
        """Whether this task writes checkpoints."""
        return self._environment.is_chief

    @property
    def num_ps_replicas(self) -> int:
        """Parameter servers in TF_CONFIG."""
        return self._environment.num_ps_replicas

    @property
    def num_worker_replicas(self) -> int:
        """Workers in TF_CONFIG, the chief among them."""
        return self._environment.num_worker_replicas

    @property
    def global_id_in_cluster(self) -> int | None:
        """This task's number among all tasks of TF_CONFIG; None for an evaluator."""
        return self._environment.global_id_in_cluster

    @property
    def service(self) -> Any:
        """What TF_CONFIG says under `service`."""
        return self._environment.service

    @property
    def master(self) -> str:
        """The address of a TensorFlow 1 session: none."""
        return ""

    @property
    def evaluation_master(self) -> str:
        """The address of a TensorFlow 1 evaluation session: none."""
        return ""

    def replace(self, **changes: Any) -> "RunConfig":
        """Returns a copy with these fields changed; a change of one checkpoint cadence switches the other off.

        Raises:
          ValueError: there is no such field.
        """
        check_names(type(self), changes)
        return dataclasses.replace(self, **with_cadence(changes))


def check_names(config_class: type, changes: Mapping[str, Any]) -> None:
    """Raises ValueError if a change is of what no configuration of the class has."""
    fields = [field.name for field in dataclasses.fields(config_class) if field.init]
    # The constructor of TPUEstimator's has arguments of its own, and takes the rest by name.
    allowed = dict.fromkeys([*fields, *inspect.signature(config_class).parameters])
    for name in changes:
        if name not in allowed:
            raise ValueError(f"Replacing {name} is not supported; allowed are {', '.join(allowed)}")


def with_cadence(changes: dict[str, Any]) -> dict[str, Any]:
    """Completes a change of one checkpoint cadence: the other is switched off, unless the change switches one off."""
    steps, secs = "save_checkpoints_steps", "save_checkpoints_secs"
    changed = [name for name in (steps, secs) if name in changes]
    if len(changed) != 1 or changes[changed[0]] is None:
        return changes
    return {**changes, (secs if changed == [steps] else steps): None}


def _resolved_model_dir(given: str | os.PathLike | None, from_environment: str | None) -> str | None:
    model_dir = os.fspath(given) if given is not None else None
    if "" in (model_dir, from_environment):
        raise ValueError("model_dir should be non-empty" + " in TF_CONFIG" * (model_dir != ""))
    if model_dir and from_environment and model_dir != from_environment:
        raise ValueError(f"model_dir is {model_dir!r} in the RunConfig but {from_environment!r} in TF_CONFIG")
    return model_dir or from_environment


def _set(frozen: Any, name: str, value: Any) -> None:
    object.__setattr__(frozen, name, value)
