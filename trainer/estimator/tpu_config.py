"""`TPUConfig`, `InputPipelineConfig` and the `RunConfig` of `TPUEstimator`."""

import dataclasses
import enum
import numbers
import re
from typing import Any

from trainer.engine.spec import TakenForNamedTuple
from trainer.estimator import run_config

_DURATION = re.compile(r"(\d+)([smh])")
_SECONDS = {"s": 1, "m": 60, "h": 3600}
_CORES_PER_REPLICA = (1, 2, 4, 8, 16, 32, 64, 128)


class InputPipelineConfig(enum.IntEnum):
    """How an input_fn's batches reach the replicas.

    PER_SHARD_V1: one call of input_fn per replica, each with its own share of the batch (training only).
    PER_HOST_V1: one call per host; each batch is divided among the host's replicas along `batch_axis`.
    PER_HOST_V2: one call per host, which must return a Dataset; each replica takes an element of its own.
    BROADCAST: one call; every replica gets the whole batch.
    SLICED: one call per host, all alike; each host uses its slice of each batch (evaluation only).
    """

    PER_SHARD_V1 = 1
    PER_HOST_V1 = 2
    PER_HOST_V2 = 3
    BROADCAST = 4
    SLICED = 5


@dataclasses.dataclass(frozen=True)
class TPUConfig(TakenForNamedTuple):
    """What is particular to accelerators.

    Fields:
      iterations_per_loop: steps between looks of the host at the device; or a duration, `"30s"`, `"5m"`, `"1h"`.
      num_shards: if given, must be the number of replicas that are found.
      num_cores_per_replica: more than 1 is model parallelism, which is not supported.
      per_host_input_for_training: an `InputPipelineConfig`, or True for PER_HOST_V1, False for PER_SHARD_V1.
      eval_training_input_configuration: PER_HOST_V1 or SLICED.
      experimental_host_call_every_n_steps: steps between host calls.
      tpu_job_name, initial_infeed_sleep_secs, experimental_allow_per_host_v2_parallel_get_next, experimental_feed_hook:
        accepted, of no effect: they tune TensorFlow's own TPU runtime.
      input_partition_dims: spatial partitioning, which is not supported.
    """

    iterations_per_loop: int | str = 2
    num_shards: int | None = None
    num_cores_per_replica: int | None = None
    per_host_input_for_training: bool | InputPipelineConfig = True
    tpu_job_name: str | None = None
    initial_infeed_sleep_secs: int | None = None
    input_partition_dims: Any = None
    eval_training_input_configuration: InputPipelineConfig = InputPipelineConfig.PER_HOST_V1
    experimental_host_call_every_n_steps: int = 1
    experimental_allow_per_host_v2_parallel_get_next: bool = False
    experimental_feed_hook: Any = None

    def __post_init__(self):
        object.__setattr__(self, "per_host_input_for_training", _pipeline(self.per_host_input_for_training))
        _check_iterations_per_loop(self.iterations_per_loop)
        for name in ("num_shards", "initial_infeed_sleep_secs", "experimental_host_call_every_n_steps"):
            _check_positive(f"TPUConfig {name}", getattr(self, name))
        self._check_partitioning()
        if self.eval_training_input_configuration not in (InputPipelineConfig.PER_HOST_V1, InputPipelineConfig.SLICED):
            raise ValueError(
                "eval_training_input_configuration can be PER_HOST_V1 or SLICED, got "
                f"{self.eval_training_input_configuration}"
            )

    def _check_partitioning(self) -> None:
        cores = self.num_cores_per_replica
        if cores is not None and cores not in _CORES_PER_REPLICA:
            raise ValueError(
                f"TPUConfig num_cores_per_replica must be one of {', '.join(map(str, _CORES_PER_REPLICA))}, got {cores}"
            )
        if self.input_partition_dims is not None and cores is None:
            raise ValueError("TPUConfig input_partition_dims requires num_cores_per_replica to be set")
        if self.input_partition_dims is not None or (cores or 1) > 1:
            raise ValueError(
                "model parallelism (num_cores_per_replica above 1, input_partition_dims) is not supported; "
                "leave both out: each replica then has one core and the whole model"
            )

    @property
    def input_pipeline(self) -> InputPipelineConfig:
        """The mode that `per_host_input_for_training` stands for."""
        return InputPipelineConfig(self.per_host_input_for_training)


def loop_duration_secs(iterations_per_loop: int | str) -> int | None:
    """Returns the seconds of a duration such as `"5m"`; None for a number of steps."""
    match = _DURATION.fullmatch(str(iterations_per_loop)) if isinstance(iterations_per_loop, str) else None
    return int(match.group(1)) * _SECONDS[match.group(2)] if match else None


def _pipeline(given: Any) -> InputPipelineConfig:
    if isinstance(given, bool):
        return InputPipelineConfig.PER_HOST_V1 if given else InputPipelineConfig.PER_SHARD_V1
    try:
        return InputPipelineConfig(given)
    except ValueError as error:
        raise ValueError(
            f"TPUConfig per_host_input_for_training must be True, False or an InputPipelineConfig, got {given!r}"
        ) from error


def _check_iterations_per_loop(value: int | str) -> None:
    is_count = isinstance(value, numbers.Integral) and not isinstance(value, bool) and value > 0
    if not is_count and not loop_duration_secs(value):
        raise ValueError(
            f"Invalid TPUConfig `iterations_per_loop` value {value!r}: it must be a positive number of steps, or a "
            f"duration such as '30s', '5m' or '1h'"
        )


def _check_positive(name: str, value: int | None) -> None:
    if value is not None and (not isinstance(value, numbers.Integral) or isinstance(value, bool) or value <= 0):
        raise ValueError(f"{name} must be a positive integer, got {value!r}")


@dataclasses.dataclass(frozen=True, init=False)
class RunConfig(run_config.RunConfig):
    """The configuration of a `TPUEstimator`.

    Args:
      tpu_config: what is particular to accelerators.
      evaluation_master: accepted; evaluation runs where training does.
      master: the accelerator: `local` (chips of this machine), `gpu`, `mock:8` (eight virtual CPU devices), or
        None to take what is here.
      cluster: in place of `master`, a resolver whose `master()` gives it.
      **kwargs: fields of the plain `RunConfig`.
    """

    tpu_config: TPUConfig = dataclasses.field(default_factory=TPUConfig)
    cluster: Any = None

    def __init__(
        self,
        tpu_config: TPUConfig | None = None,
        evaluation_master: str | None = None,
        master: str | None = None,
        cluster: Any = None,
        **kwargs: Any,
    ):
        if cluster is not None and master:
            raise ValueError("Both master and cluster are set; give one of them")
        cluster_def = getattr(kwargs.get("session_config"), "cluster_def", None)
        if cluster is not None and cluster_def is not None and cluster_def.job:
            raise ValueError("You cannot provide a ClusterResolver and session_config.cluster_def; give one of them")
        object.__setattr__(self, "tpu_config", tpu_config or TPUConfig())
        object.__setattr__(self, "cluster", cluster)
        object.__setattr__(self, "_master", cluster.master() if cluster is not None else master or "")
        object.__setattr__(self, "_evaluation_master", evaluation_master)
        for field in dataclasses.fields(run_config.RunConfig):
            if field.init:
                object.__setattr__(self, field.name, kwargs.pop(field.name, field.default))
        if kwargs:
            raise TypeError(f"RunConfig has no argument {', '.join(sorted(kwargs))}")
        self.__post_init__()

    @property
    def master(self) -> str:
        """The accelerator, as it was given."""
        return self._master  # type: ignore[attr-defined]

    @property
    def evaluation_master(self) -> str:
        """Where evaluation was asked to run; where training does, if nothing was said."""
        return self.master if self._evaluation_master is None else self._evaluation_master  # type: ignore[attr-defined]

    def replace(self, **changes: Any) -> "RunConfig":
        """Returns a copy with these arguments of the constructor changed.

        Raises:
          ValueError: there is no such argument.
        """
        run_config.check_names(RunConfig, changes)
        current = {field.name: getattr(self, field.name) for field in dataclasses.fields(self) if field.init}
        master = {} if self.cluster is not None or "cluster" in changes else {"master": self.master}
        evaluation_master = {"evaluation_master": self._evaluation_master}  # type: ignore[attr-defined]
        return RunConfig(**{**current, **master, **evaluation_master, **run_config.with_cadence(changes)})
