"""Where an estimator's steps run, and what follows from it: batch sizes, calls of input_fn, `params["context"]`."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

from trainer.engine.engine import Engine
from trainer.engine.spec import ModeKeys
from trainer.estimator.tpu_config import InputPipelineConfig

BATCH_SIZE_NAMES = {
    ModeKeys.TRAIN: "train_batch_size",
    ModeKeys.EVAL: "eval_batch_size",
    ModeKeys.PREDICT: "predict_batch_size",
}


@dataclasses.dataclass(frozen=True)
class Deployment:
    """An engine, and how batches are spread over its replicas.

    Fields:
      engine: what runs the steps of this deployment.
      global_batch_sizes: examples per step over all replicas, by mode; None where the input_fn decides.
      input_pipelines: by mode, how an input_fn's batches reach the replicas.
      batch_axis: for each flat tensor of the batch, the axis of its examples; None means 0 for all.
      is_tpu: whether model_fn and input_fn see the parameters of TPUEstimator on a TPU (shares of the batch, context).
      num_hosts, host: this process among those that feed the same step.
    """

    engine: Engine
    global_batch_sizes: Mapping[str, int | None] = dataclasses.field(default_factory=dict)
    input_pipelines: Mapping[str, InputPipelineConfig] = dataclasses.field(default_factory=dict)
    batch_axis: tuple[int | None, ...] | None = None
    is_tpu: bool = False
    num_hosts: int = 1
    host: int = 0

    def __post_init__(self):
        for mode, size in self.global_batch_sizes.items():
            if not self.is_tpu or self.is_broadcast(mode) or size is None or size % self.num_replicas == 0:
                continue
            raise ValueError(
                f"{BATCH_SIZE_NAMES[mode]} {size} must be divisible by the number of replicas "
                f"{self.num_replicas}; use {size - size % self.num_replicas or self.num_replicas}"
            )

    @property
    def num_replicas(self) -> int:
        """Replicas that share a global batch."""
        return self.engine.num_replicas

    @property
    def num_local_replicas(self) -> int:
        """Replicas that this host feeds."""
        return self.num_replicas // self.num_hosts

    def input_pipeline(self, mode: str) -> InputPipelineConfig:
        """Returns how batches reach the replicas in a mode."""
        return self.input_pipelines.get(mode, InputPipelineConfig.PER_HOST_V1)

    def is_broadcast(self, mode: str) -> bool:
        """Returns whether every replica sees the whole batch; what they compute of it is then taken from the first."""
        return self.is_tpu and self.input_pipeline(mode) is InputPipelineConfig.BROADCAST

    def input_calls(self, mode: str) -> int:
        """Returns how often this host calls input_fn for one stream of batches."""
        is_per_replica = self.is_tpu and self.input_pipeline(mode) is InputPipelineConfig.PER_SHARD_V1
        return self.num_local_replicas if is_per_replica else 1

    def input_batch_size(self, mode: str) -> int | None:
        """Returns the `params["batch_size"]` of an input_fn: how many examples each of its batches should have."""
        size = self._batch_size(mode)
        if size is None or not self.is_tpu:
            return size
        return {
            InputPipelineConfig.BROADCAST: size,
            InputPipelineConfig.PER_SHARD_V1: size // self.num_replicas,
            InputPipelineConfig.PER_HOST_V2: size // self.num_replicas,
        }.get(self.input_pipeline(mode), size // self.num_hosts)

    def model_batch_size(self, mode: str) -> int | None:
        """Returns the `params["batch_size"]` of a model_fn: how many examples it sees."""
        size = self._batch_size(mode)
        if size is None or not self.is_tpu or self.is_broadcast(mode):
            return size
        return size // self.num_replicas

    def _batch_size(self, mode: str) -> int | None:
        size = self.global_batch_sizes.get(mode)
        if size is None and self.is_tpu:
            name = BATCH_SIZE_NAMES[mode]
            raise ValueError(f"{name} in TPUEstimator must be given to run mode {mode!r} on a TPU: pass {name}=...")
        return size

    def input_context(self, mode: str, call: int) -> "TPUContext":
        """Returns the `params["context"]` of an input_fn's call number `call` on this host."""
        return TPUContext(self, mode, invocation_index=self.host * self.input_calls(mode) + call)

    def model_context(self, mode: str) -> "TPUContext":
        """Returns the `params["context"]` of a model_fn."""
        return TPUContext(self, mode)


@dataclasses.dataclass(frozen=True)
class TPUContext:
    """What a program may ask about where it runs; given to input_fn and model_fn as `params["context"]`."""

    _deployment: Deployment
    _mode: str
    invocation_index: int | None = None

    def current_input_fn_deployment(self) -> tuple[str, int, int, int]:
        """Returns `(input_device, invocation_index, total_invocations, replicas_consumed)`, inside an input_fn.

        Raises:
          RuntimeError: in a model_fn.
        """
        if self.invocation_index is None:
            raise RuntimeError("current_input_fn_deployment must be called from input_fn, not from model_fn")
        deployment = self._deployment
        if deployment.is_broadcast(self._mode):
            return "/device:CPU:0", self.invocation_index, 1, deployment.num_replicas
        calls = deployment.input_calls(self._mode)
        return (
            "/device:CPU:0",
            self.invocation_index,
            calls * deployment.num_hosts,
            deployment.num_local_replicas // calls,
        )

    @property
    def num_replicas(self) -> int:
        """Replicas that share a global batch."""
        return self._deployment.num_replicas

    @property
    def num_hosts(self) -> int:
        """Hosts that feed them."""
        return self._deployment.num_hosts

    @property
    def current_host(self) -> int:
        """The number of the host that calls the input_fn.

        Raises:
          RuntimeError: in a model_fn.
        """
        if self.invocation_index is None:
            raise RuntimeError("current_host must be called from input_fn, not from model_fn")
        return self._deployment.host

    @property
    def num_of_replicas_per_host(self) -> int:
        """Replicas that each host feeds.

        Raises:
          RuntimeError: in a model_fn.
        """
        if self.invocation_index is None:
            raise RuntimeError("num_of_replicas_per_host must be called from input_fn, not from model_fn")
        return self._deployment.num_local_replicas

    @property
    def device_assignment(self) -> None:
        """Nothing: replicas have one core each, and the engine places them.

        Raises:
          RuntimeError: in an input_fn.
        """
        if self.invocation_index is not None:
            raise RuntimeError("device_assignment must be called from model_fn, not from input_fn")

    def device_for_replica(self, replica_id: int) -> tuple[str, int]:
        """Returns `(host device, ordinal)` of a replica, for programs that print it."""
        host, ordinal = divmod(replica_id, self._deployment.num_local_replicas)
        return f"/task:{host}/device:CPU:0", ordinal

    def tpu_host_placement_function(self, host_id: int) -> Callable[[Any], str]:
        """Returns a device function that places operations on a host's CPU."""
        return lambda operation: f"/task:{host_id}/device:CPU:0"
