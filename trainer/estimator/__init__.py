"""The Estimator interface, `TPUEstimator` first of all, on today's TensorFlow."""

from trainer.engine.spec import EstimatorSpec, ModeKeys, TPUEstimatorSpec
from trainer.estimator.early_stopping import (
    make_early_stopping_hook,
    stop_if_higher_hook,
    stop_if_lower_hook,
    stop_if_no_decrease_hook,
    stop_if_no_increase_hook,
)
from trainer.estimator.estimator import Estimator
from trainer.estimator.evaluator_hook import InMemoryEvaluatorHook
from trainer.estimator.export_outputs import (
    ClassificationOutput,
    PredictOutput,
    RegressionOutput,
    ServingInputReceiver,
    SupervisedInputReceiver,
    TensorServingInputReceiver,
    build_parsing_serving_input_receiver_fn,
    build_raw_serving_input_receiver_fn,
    build_raw_supervised_input_receiver_fn,
)
from trainer.estimator.exporters import BestExporter, Exporter, FinalExporter, LatestExporter
from trainer.estimator.hooks import Progress, ProgressHook
from trainer.estimator.inference import (
    BatchConfig,
    ExportSavedModelApiVersion,
    call_computation,
    export_estimator_savedmodel,
)
from trainer.estimator.profiler_hook import ProfilerHook
from trainer.estimator.speed_hook import ExamplesPerSecondHook
from trainer.estimator.stop_hooks import make_stop_at_checkpoint_step_hook
from trainer.estimator.tpu_config import InputPipelineConfig, RunConfig, TPUConfig
from trainer.estimator.tpu_context import TPUContext
from trainer.estimator.tpu_estimator import TPUEstimator
from trainer.estimator.train_and_evaluate import EvalSpec, TrainSpec, train_and_evaluate
from trainer.estimator.warm_start import WarmStartSettings

__all__ = [
    "BatchConfig",
    "BestExporter",
    "ClassificationOutput",
    "Estimator",
    "EstimatorSpec",
    "EvalSpec",
    "ExamplesPerSecondHook",
    "ExportSavedModelApiVersion",
    "Exporter",
    "FinalExporter",
    "InMemoryEvaluatorHook",
    "InputPipelineConfig",
    "LatestExporter",
    "ModeKeys",
    "PredictOutput",
    "ProfilerHook",
    "Progress",
    "ProgressHook",
    "RegressionOutput",
    "RunConfig",
    "ServingInputReceiver",
    "SupervisedInputReceiver",
    "TPUConfig",
    "TPUContext",
    "TPUEstimator",
    "TPUEstimatorSpec",
    "TensorServingInputReceiver",
    "TrainSpec",
    "WarmStartSettings",
    "build_parsing_serving_input_receiver_fn",
    "build_raw_serving_input_receiver_fn",
    "build_raw_supervised_input_receiver_fn",
    "call_computation",
    "export_estimator_savedmodel",
    "make_early_stopping_hook",
    "make_stop_at_checkpoint_step_hook",
    "stop_if_higher_hook",
    "stop_if_lower_hook",
    "stop_if_no_decrease_hook",
    "stop_if_no_increase_hook",
    "train_and_evaluate",
]
