"""The Estimator interface, `TPUEstimator` first of all, on today's TensorFlow."""

from trainer.engine.spec import EstimatorSpec, ModeKeys, TPUEstimatorSpec
from trainer.estimator.estimator import Estimator
from trainer.estimator.exporters import BestExporter, Exporter, FinalExporter, LatestExporter
from trainer.estimator.hooks import Progress, ProgressHook
from trainer.estimator.tpu_config import InputPipelineConfig, RunConfig, TPUConfig
from trainer.estimator.tpu_context import TPUContext
from trainer.estimator.tpu_estimator import TPUEstimator
from trainer.estimator.train_and_evaluate import EvalSpec, TrainSpec, train_and_evaluate
from trainer.estimator.warm_start import WarmStartSettings

__all__ = [
    "BestExporter",
    "Estimator",
    "EstimatorSpec",
    "EvalSpec",
    "Exporter",
    "FinalExporter",
    "InputPipelineConfig",
    "LatestExporter",
    "ModeKeys",
    "Progress",
    "ProgressHook",
    "RunConfig",
    "TPUConfig",
    "TPUContext",
    "TPUEstimator",
    "TPUEstimatorSpec",
    "TrainSpec",
    "WarmStartSettings",
    "train_and_evaluate",
]
