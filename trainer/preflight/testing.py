"""For the tests of programs that are to run on a TPU: needs the compiler, and no TPU."""

from collections.abc import Callable, Mapping
from typing import Any

from trainer.engine import stablehlo_errors
from trainer.engine import topology as tpu_topology
from trainer.preflight import compiler
from trainer.preflight.training_step import TrainingStep


def assert_compiles_for_tpu(
    model_fn: Callable[..., Any],
    features: Any,
    labels: Any = None,
    *,
    params: Mapping[str, Any] | None = None,
    per_replica_batch_size: int = 8,
    tpu_type: str = "v5e",
) -> compiler.CompiledStep:
    """Fails unless the training step of `model_fn` compiles for `tpu_type` and fits there.

    Args:
      model_fn: as given to `TPUEstimator`.
      features, labels: nests of `tf.TensorSpec`s; None on axis 0 stands for the batch.
      params: as given to `TPUEstimator`.
      per_replica_batch_size: examples on each device.
      tpu_type: a topology, such as `v5e:2x2`.

    Returns:
      The compiled step, to assert more of: `hbm_peak_bytes`, `hbm_traffic_bytes`, `figures.flops`.

    Raises:
      AssertionError: with the operation, the line that made it and the usual remedy.
    """
    topology = tpu_topology.parse(tpu_type)
    step = TrainingStep(model_fn, features, labels, params or {})
    try:
        lowered = step.lower(per_replica_batch_size, topology.num_devices)
        return compiler.TpuCompiler().compile(lowered, topology)
    except (stablehlo_errors.LoweringError, compiler.CompilerRefusalError) as error:
        raise AssertionError(f"the training step does not compile for {topology.name}: {error}") from error
