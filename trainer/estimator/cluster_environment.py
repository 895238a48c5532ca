"""TF_CONFIG: which task of which cluster this process is."""

import dataclasses
import json
import os
from collections.abc import Mapping
from typing import Any

import tensorflow as tf

TF_CONFIG = "TF_CONFIG"
_CHIEF_TYPES = ("chief", "master")
TASK_TYPES = ("chief", "master", "ps", "worker", "evaluator")


@dataclasses.dataclass(frozen=True)
class ClusterEnvironment:
    """This process's place in its cluster; a lone worker when TF_CONFIG says nothing, an evaluator in none."""

    cluster: Mapping[str, tuple[str, ...]] = dataclasses.field(default_factory=dict)
    task_type: str = "worker"
    task_id: int = 0
    model_dir: str | None = None
    service: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def __post_init__(self):
        if self.task_type not in TASK_TYPES:
            raise ValueError(f"{TF_CONFIG}: task type {self.task_type!r} is not one of {', '.join(TASK_TYPES)}")
        if self.task_id < 0:
            raise ValueError(f"{TF_CONFIG}: task index must not be negative, got {self.task_id}")
        if self.cluster:
            self._check_task()
        elif self.task_type == "ps" or (self.task_type == "worker" and self.task_id):
            raise ValueError(
                f"{TF_CONFIG}: task {self.task_type} {self.task_id} without a cluster: it would train beside the "
                f"chief, into the same model_dir; set the cluster, too"
            )

    def _check_task(self) -> None:
        if sum(len(self.cluster.get(name, ())) for name in _CHIEF_TYPES) != 1:
            raise ValueError(f'{TF_CONFIG}: the cluster needs exactly one "chief" node, it has {sorted(self.cluster)}')
        if self.task_id >= len(self.cluster.get(self.task_type, ())):
            raise ValueError(
                f"{TF_CONFIG}: the cluster has {len(self.cluster.get(self.task_type, ()))} {self.task_type} node(s), "
                f"so there is no task {self.task_id}"
            )

    @property
    def cluster_spec(self) -> tf.train.ClusterSpec:
        """The cluster as TensorFlow describes it."""
        return tf.train.ClusterSpec({name: list(nodes) for name, nodes in self.cluster.items()})

    @property
    def is_chief(self) -> bool:
        """Whether this task writes checkpoints: the chief, or a lone process."""
        return self.task_type in _CHIEF_TYPES or (not self.cluster and self.task_type == "worker")

    @property
    def num_ps_replicas(self) -> int:
        """Parameter servers of the cluster."""
        return len(self.cluster.get("ps", ()))

    @property
    def num_worker_replicas(self) -> int:
        """Workers of the cluster, the chief among them."""
        in_cluster = sum(len(self.cluster.get(name, ())) for name in ("worker", *_CHIEF_TYPES))
        return in_cluster or int(self.task_type != "evaluator")

    @property
    def global_id_in_cluster(self) -> int | None:
        """The number of this task among all: chief, then workers, then parameter servers; an evaluator has none."""
        if self.task_type == "evaluator":
            return None
        order = ("chief", "master", "worker", "ps")
        before = order[: order.index(self.task_type)]
        return sum(len(self.cluster.get(name, ())) for name in before) + self.task_id


def from_environment() -> ClusterEnvironment:
    """Reads TF_CONFIG.

    Raises:
      ValueError: it is not a JSON object, or describes no consistent cluster.
    """
    text = os.environ.get(TF_CONFIG) or "{}"
    try:
        config = json.loads(text)
        task = config.get("task", {})
        cluster = {name: tuple(nodes) for name, nodes in config.get("cluster", {}).items()}
        if cluster and not {"type", "index"} <= task.keys():
            raise ValueError(f'If "cluster" is set in {TF_CONFIG}, task type and index must be set, got {task}')
        task_type = task.get("type", "worker")
        return ClusterEnvironment(
            cluster={} if task_type == "evaluator" else cluster,
            task_type=task_type,
            task_id=int(task.get("index", 0)),
            model_dir=config.get("model_dir"),
            service=config.get("service", {}),
        )
    except (AttributeError, TypeError, json.JSONDecodeError) as error:
        raise ValueError(f"{TF_CONFIG} is not a JSON object with cluster and task: {error}") from error
