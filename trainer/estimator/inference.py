"""What programs for TPUEstimator use when they export for a TPU.

A SavedModel made here runs wherever it is loaded, so there is nothing to wrap for a TPU; batching is the server's.
"""

import enum
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import tensorflow as tf


class ExportSavedModelApiVersion(enum.IntEnum):
    """Which model_fn call wraps its own inference for a TPU (V2); both give the same SavedModel here."""

    V1 = 1
    V2 = 2


class BatchConfig(NamedTuple):
    """How a TPU server was to batch requests; accepted, of no effect."""

    num_batch_threads: int
    max_batch_size: int
    batch_timeout_micros: int
    allowed_batch_sizes: Sequence[int] | None
    max_enqueued_batches: int = 100


def call_computation(
    computation_inputs: Any, computation: Callable[[Any], Any], batch_config: BatchConfig | None = None
) -> list[tf.Tensor]:
    """Returns the flat outputs of `computation(computation_inputs)`.

    Args:
      computation_inputs: nest of tensors.
      computation: makes the outputs of inputs in that structure.
      batch_config: accepted, of no effect.
    """
    del batch_config
    return tf.nest.flatten(computation(computation_inputs))


def export_estimator_savedmodel(
    estimator: Any,
    export_dir_base: str,
    serving_input_receiver_fn: Callable[[], Any],
    assets_extra: Mapping[str, str] | None = None,
    as_text: bool = False,
    checkpoint_path: str | None = None,
) -> str:
    """Exports an estimator; see `Estimator.export_saved_model`."""
    return estimator.export_saved_model(
        export_dir_base, serving_input_receiver_fn, assets_extra, as_text, checkpoint_path
    )
