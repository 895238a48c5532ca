"""The Estimator interface, `TPUEstimator` first of all, on today's TensorFlow."""

from trainer.engine.spec import EstimatorSpec, ModeKeys, TPUEstimatorSpec
from trainer.estimator.estimator import Estimator
from trainer.estimator.hooks import Progress, ProgressHook
from trainer.estimator.tpu_config import InputPipelineConfig, RunConfig, TPUConfig
from trainer.estimator.tpu_context import TPUContext
from trainer.estimator.tpu_estimator import TPUEstimator
from trainer.estimator.warm_start import WarmStartSettings

__all__ = [
    "Estimator",
    "EstimatorSpec",
    "InputPipelineConfig",
    "ModeKeys",
    "Progress",
    "ProgressHook",
    "RunConfig",
    "TPUConfig",
    "TPUContext",
    "TPUEstimator",
    "TPUEstimatorSpec",
    "WarmStartSettings",
]
