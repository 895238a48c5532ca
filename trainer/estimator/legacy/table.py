"""The table of names that TensorFlow no longer has, and what stands for each of them here.

A row is a module as programs import it. `names` gives what it holds, as `"module:attribute.path"` of what exists today;
`rest` is a module that answers for every other name. A name that is in no row and not in today's TensorFlow is unknown.
"""

from collections.abc import Mapping

from trainer.estimator.legacy import moved_names
from trainer.estimator.legacy.row import Row
from trainer.estimator.legacy.row import of as _of


def _train(*names: str) -> dict[str, str]:
    return {name: f"tensorflow:compat.v1.train.{name}" for name in names}


_OURS = "trainer.estimator"
_LEGACY = f"{_OURS}.legacy"

_TPU_CONFIG = _of(f"{_OURS}.tpu_config", "InputPipelineConfig", "RunConfig", "TPUConfig")
_TPU_SPEC = _of("trainer.engine.spec", "TPUEstimatorSpec")
_TPU_ESTIMATOR = {**_of(f"{_OURS}.tpu_estimator", "TPUEstimator"), **_TPU_SPEC}
_TPU_CONTEXT = _of(f"{_OURS}.tpu_context", "TPUContext")
_RUN_CONFIG = _of(f"{_OURS}.run_config", "RunConfig")
_WARM_START = {**_of(f"{_OURS}.warm_start", "WarmStartSettings"), **_train("VocabInfo")}
_MODEL_FN = _of("trainer.engine.spec", "EstimatorSpec", "ModeKeys")
_TRAINING = _of(f"{_OURS}.train_and_evaluate", "EvalSpec", "TrainSpec", "train_and_evaluate")
_EXPORTERS = _of(f"{_OURS}.exporters", "BestExporter", "Exporter", "FinalExporter", "LatestExporter")
_EXPORT_OUTPUTS = _of(f"{_OURS}.export_outputs", "ClassificationOutput", "PredictOutput", "RegressionOutput")
_RECEIVERS = _of(
    f"{_OURS}.export_outputs",
    "ServingInputReceiver",
    "SupervisedInputReceiver",
    "TensorServingInputReceiver",
    "build_parsing_serving_input_receiver_fn",
    "build_raw_serving_input_receiver_fn",
    "build_raw_supervised_input_receiver_fn",
)
_EARLY_STOPPING = _of(
    f"{_OURS}.early_stopping",
    "make_early_stopping_hook",
    "read_eval_metrics",
    "stop_if_higher_hook",
    "stop_if_lower_hook",
    "stop_if_no_decrease_hook",
    "stop_if_no_increase_hook",
)
_EXPERIMENTAL = {
    **_EARLY_STOPPING,
    **_of(f"{_OURS}.evaluator_hook", "InMemoryEvaluatorHook"),
    **_of(f"{_OURS}.export_outputs", "build_raw_supervised_input_receiver_fn"),
    **_of(f"{_OURS}.stop_hooks", "make_stop_at_checkpoint_step_hook"),
}
_NUMPY_INPUTS = _of(f"{_LEGACY}.array_inputs", "numpy_input_fn")
_PANDAS_INPUTS = _of(f"{_LEGACY}.array_inputs", "pandas_input_fn")
_INPUTS = Row({**_NUMPY_INPUTS, **_PANDAS_INPUTS})
_LOGGING_HOOK = _of(f"{_LEGACY}.logging_hook", "LoggingTensorHook")
_HOOKS = _LOGGING_HOOK | _train(
    "CheckpointSaverHook",
    "CheckpointSaverListener",
    "FeedFnHook",
    "FinalOpsHook",
    "GlobalStepWaiterHook",
    "NanLossDuringTrainingError",
    "NanTensorHook",
    "ProfilerHook",
    "SecondOrStepTimer",
    "SessionRunArgs",
    "SessionRunContext",
    "SessionRunHook",
    "SessionRunValues",
    "StepCounterHook",
    "StopAtStepHook",
    "SummarySaverHook",
)
_ESTIMATOR_MODULE = {
    **_of(f"{_OURS}.estimator", "Estimator"),
    **_of(f"{_LEGACY}.checkpoint_step", "_load_global_step_from_checkpoint_dir"),
    **_WARM_START,
}
_ESTIMATOR = Row(
    {
        **_of(f"{_OURS}.estimator", "Estimator"),
        **_RUN_CONFIG,
        **_WARM_START,
        **_MODEL_FN,
        **_TRAINING,
        **_EXPORTERS,
        **_HOOKS,
    }
)
_ESTIMATOR_TPU = Row({**_TPU_ESTIMATOR, **_TPU_CONFIG})
_RESOLVER = Row(_of(f"{_LEGACY}.cluster_resolver", "TPUClusterResolver"))
_CROSS_SHARD = _of("tensorflow.python.tpu.tpu_optimizer", "CrossShardOptimizer")
_BFLOAT16 = _of("tensorflow.python.tpu.bfloat16", "bfloat16_scope")
_TPU_OPS = _of("tensorflow.python.tpu.ops.tpu_ops", "all_to_all", "collective_permute", "cross_replica_sum")
_ASYNC_CHECKPOINT = {"AsyncCheckpointSaverHook": "tensorflow:compat.v1.train.CheckpointSaverHook"}
_CHECKPOINTS_ITERATOR = {"checkpoints_iterator": "tensorflow:train.checkpoints_iterator"}

# tf.contrib.

_CONTRIB_TPU = {
    "tensorflow.contrib.tpu": Row(
        {
            **_TPU_ESTIMATOR,
            **_TPU_CONFIG,
            **_TPU_CONTEXT,
            **_CROSS_SHARD,
            **_BFLOAT16,
            **_TPU_OPS,
            **_ASYNC_CHECKPOINT,
        }
    ),
    "tensorflow.contrib.tpu.python.ops.tpu_ops": Row(rest="tensorflow.python.tpu.ops.tpu_ops"),
    "tensorflow.contrib.tpu.python.tpu.async_checkpoint": Row(_ASYNC_CHECKPOINT),
    "tensorflow.contrib.tpu.python.tpu.bfloat16": Row(_BFLOAT16),
    "tensorflow.contrib.tpu.python.tpu.tpu_config": Row(_TPU_CONFIG),
    "tensorflow.contrib.tpu.python.tpu.tpu_context": Row(_TPU_CONTEXT),
    "tensorflow.contrib.tpu.python.tpu.tpu_estimator": Row({**_TPU_ESTIMATOR, **_TPU_CONFIG}),
    "tensorflow.contrib.tpu.python.tpu.tpu_function": Row(rest="tensorflow.python.tpu.tpu_function"),
    "tensorflow.contrib.tpu.python.tpu.tpu_optimizer": Row(_CROSS_SHARD),
}
_CONTRIB_DATA = {
    "tensorflow.contrib.data": Row(
        {
            **_of(
                "tensorflow.compat.v1.data.experimental",
                "AUTOTUNE",
                "Counter",
                "bucket_by_sequence_length",
                "choose_from_datasets",
                "group_by_window",
                "ignore_errors",
                "make_batched_features_dataset",
                "make_csv_dataset",
                "map_and_batch",
                "parallel_interleave",
                "prefetch_to_device",
                "rejection_resample",
                "sample_from_datasets",
                "scan",
                "shuffle_and_repeat",
                "unbatch",
                "unique",
            ),
            **_of(f"{_LEGACY}.contrib_data", "batch_and_drop_remainder", "padded_batch_and_drop_remainder"),
        }
    ),
}
_CONTRIB_TRAINING = {
    "tensorflow.contrib.training": Row({**_of(f"{_LEGACY}.hparams", "HParams"), **_CHECKPOINTS_ITERATOR}),
    "tensorflow.contrib.training.python.training.evaluation": Row(_CHECKPOINTS_ITERATOR),
    "tensorflow.contrib.training.python.training.hparam": Row(_of(f"{_LEGACY}.hparams", "HParams")),
}
_CONTRIB_FRAMEWORK = {
    "tensorflow.contrib.framework": Row(
        {
            **_train("get_global_step", "get_or_create_global_step", "init_from_checkpoint"),
            **_train("list_variables", "load_checkpoint", "load_variable"),
            **_of(
                f"{_LEGACY}.contrib_framework",
                "add_arg_scope",
                "arg_scope",
                "get_trainable_variables",
                "get_variables",
                "has_arg_scope",
            ),
            **_of("tensorflow", "argsort", "is_tensor", "sort"),
            "get_name_scope": "tensorflow.python.framework.ops:get_name_scope",
        }
    ),
    "tensorflow.contrib.framework.nest": Row(
        {"is_sequence": "tensorflow:nest.is_nested"}, rest="tensorflow.python.util.nest"
    ),
}
_CONTRIB_LAYERS = {
    "tensorflow.contrib.layers": Row(
        {
            **_of(
                f"{_LEGACY}.contrib_layers",
                "l1_regularizer",
                "l2_regularizer",
                "layer_norm",
                "variance_scaling_initializer",
                "xavier_initializer",
            ),
            **_of(f"{_LEGACY}.contrib_optimizers", "OPTIMIZER_CLS_NAMES", "OPTIMIZER_SUMMARIES", "optimize_loss"),
            "flatten": "tf_keras.api._v1.keras.__internal__.legacy.layers:flatten",
            "xavier_initializer_conv2d": f"{_LEGACY}.contrib_layers:xavier_initializer",
        }
    ),
    "tensorflow.contrib.layers.python.layers.initializers": Row(
        _of(f"{_LEGACY}.contrib_layers", "variance_scaling_initializer", "xavier_initializer")
    ),
    "tensorflow.contrib.layers.python.layers.regularizers": Row(
        _of(f"{_LEGACY}.contrib_layers", "l1_regularizer", "l2_regularizer")
    ),
}
_SUMMARIES = {
    **_of(
        "tensorflow.python.ops.summary_ops_v2",
        "always_record_summaries",
        "audio",
        "create_file_writer",
        "create_summary_file_writer",
        "flush",
        "generic",
        "histogram",
        "image",
        "initialize",
        "never_record_summaries",
        "record_summaries_every_n_global_steps",
        "scalar",
        "should_record_summaries",
    ),
    "all_summary_ops": "tensorflow.python.ops.summary_ops_v2:all_v2_summary_ops",
    "summary_writer_initializer_op": "tensorflow.python.ops.summary_ops_v2:summary_writer_initializer_op",
}
_CONTRIB_SUMMARY = {
    "tensorflow.contrib.summary": Row(_SUMMARIES),
    "tensorflow.contrib.summary.summary": Row(_SUMMARIES),
}
_CONTRIB_OTHERS = {
    "tensorflow.contrib.cluster_resolver": _RESOLVER,
    "tensorflow.contrib.crf": Row(
        _of(
            f"{_LEGACY}.contrib_crf",
            "crf_decode",
            "crf_log_likelihood",
            "crf_log_norm",
            "crf_sequence_score",
            "viterbi_decode",
        )
    ),
    "tensorflow.contrib.distribute": Row(_of("tensorflow._api.v2.distribute", "MirroredStrategy", "OneDeviceStrategy")),
    "tensorflow.contrib.estimator": Row(_EXPERIMENTAL),
    "tensorflow.contrib.image": Row(_of(f"{_LEGACY}.contrib_image", "rotate", "transform", "translate")),
    "tensorflow.contrib.lookup": Row(
        {
            **_of(
                "tensorflow.python.ops.lookup_ops",
                "KeyValueTensorInitializer",
                "TextFileIdTableInitializer",
                "TextFileInitializer",
                "TextFileStringTableInitializer",
                "index_table_from_file",
                "index_table_from_tensor",
                "index_to_string_table_from_file",
                "index_to_string_table_from_tensor",
            ),
            "HashTable": "tensorflow.python.ops.lookup_ops:StaticHashTableV1",
        }
    ),
    "tensorflow.contrib.metrics": Row(
        {
            **_of(
                f"{_LEGACY}.contrib_metrics",
                "streaming_accuracy",
                "streaming_auc",
                "streaming_mean_absolute_error",
                "streaming_mean_iou",
                "streaming_mean_squared_error",
                "streaming_pearson_correlation",
                "streaming_precision",
                "streaming_recall",
                "streaming_root_mean_squared_error",
            ),
            "confusion_matrix": "tensorflow:compat.v1.confusion_matrix",
            "streaming_mean": "tensorflow:compat.v1.metrics.mean",
        }
    ),
    "tensorflow.contrib.opt": Row(_of(f"{_LEGACY}.contrib_opt", "LARSOptimizer")),
    "tensorflow.contrib.rnn": Row(
        {
            **_of(
                "tf_keras.api._v1.keras.__internal__.legacy.rnn_cell",
                "BasicLSTMCell",
                "BasicRNNCell",
                "DeviceWrapper",
                "DropoutWrapper",
                "GRUCell",
                "LSTMCell",
                "LSTMStateTuple",
                "MultiRNNCell",
                "RNNCell",
                "ResidualWrapper",
            ),
            **_of("tensorflow.python.ops.rnn", "static_bidirectional_rnn", "static_rnn", "static_state_saving_rnn"),
        }
    ),
}

# Paths inside the estimator's repository that programs reach into, by what follows the package's name.

_INSIDE_ESTIMATOR = {
    "early_stopping": Row(_EARLY_STOPPING),
    "estimator": Row(_ESTIMATOR_MODULE),
    "estimator_lib": _ESTIMATOR,
    "export.export": Row(_RECEIVERS),
    "export.export_lib": Row({**_RECEIVERS, **_EXPORT_OUTPUTS}),
    "export.export_output": Row(_EXPORT_OUTPUTS),
    "exporter": Row(_EXPORTERS),
    "inputs.inputs": _INPUTS,
    "inputs.numpy_io": Row(_NUMPY_INPUTS),
    "inputs.pandas_io": Row(_PANDAS_INPUTS),
    "mode_keys": Row(_of("trainer.engine.spec", "ModeKeys")),
    "model_fn": Row(_MODEL_FN),
    "run_config": Row(_RUN_CONFIG),
    "tpu.tpu_config": Row(_TPU_CONFIG),
    "tpu.tpu_context": Row(_TPU_CONTEXT),
    "tpu.tpu_estimator": Row({**_TPU_ESTIMATOR, **_TPU_CONFIG}),
    "training": Row(_TRAINING),
}
_PUBLIC_ESTIMATOR = {
    "estimator": _ESTIMATOR,
    "estimator.experimental": Row(_EXPERIMENTAL),
    "estimator.export": Row({**_RECEIVERS, **_EXPORT_OUTPUTS}),
    "estimator.inputs": _INPUTS,
    "estimator.tpu": _ESTIMATOR_TPU,
}

MODULES: Mapping[str, Row] = {
    **{
        f"{package}.{path}": row
        for package in ("tensorflow", "tensorflow_estimator")
        for path, row in _PUBLIC_ESTIMATOR.items()
    },
    **{
        f"{package}.{path}": row
        for package in ("tensorflow.python.estimator", "tensorflow_estimator.python.estimator")
        for path, row in _INSIDE_ESTIMATOR.items()
    },
    **_CONTRIB_TPU,
    **_CONTRIB_DATA,
    **_CONTRIB_TRAINING,
    **_CONTRIB_FRAMEWORK,
    **_CONTRIB_LAYERS,
    **_CONTRIB_SUMMARY,
    **_CONTRIB_OTHERS,
    **moved_names.MODULES,
    "tensorflow.distribute.cluster_resolver": _RESOLVER,
    "tensorflow.examples.tutorials.mnist.input_data": Row(rest=f"{_LEGACY}.mnist_data"),
    "tensorflow.layers": Row(
        _of(f"{_LEGACY}.batch_normalization", "BatchNormalization"),
        rest="tf_keras.api._v1.keras.__internal__.legacy.layers",
    ),
    "tensorflow.logging": Row(_of(f"{_LEGACY}.verbosity", "set_verbosity")),
    "tensorflow.python.tpu.async_checkpoint": Row(_ASYNC_CHECKPOINT),
    "tensorflow.python.tpu.tpu_config": Row(_TPU_CONFIG),
    "tensorflow.python.tpu.tpu_context": Row(_TPU_CONTEXT),
    "tensorflow.python.tpu.tpu_estimator": Row({**_TPU_ESTIMATOR, **_TPU_CONFIG}),
    "tensorflow.python.training.basic_session_run_hooks": Row(_LOGGING_HOOK),
    "tensorflow.summary": Row(_of(f"{_LEGACY}.summary_writer", "create_file_writer")),
    "tensorflow.train": Row(_LOGGING_HOOK),
    "tensorflow.python.distribute.cluster_resolver": _RESOLVER,
    "tensorflow.python.distribute.cluster_resolver.tpu_cluster_resolver": _RESOLVER,
}

# Packages of which nothing is left: a path below them that is in no row does not exist.
GONE_PACKAGES = ("tensorflow.contrib", "tensorflow.examples", "tensorflow.python.estimator", "tensorflow_estimator")

# Estimators that bring a model of their own, of which none is provided, and the package that they were in.
CANNED = (
    "canned",
    "KMeans",
    "KMeansClustering",
    "LinearSDCA",
    *(
        f"{model}{kind}"
        for model in ("Baseline", "BoostedTrees", "DNN", "DNNLinearCombined", "Linear", "RNN")
        for kind in ("Classifier", "Estimator", "Regressor")
    ),
)

# What a program for TensorFlow 1 reads as its version: the last one whose names the facades show it.
VERSION_1 = "1.15.5"
VERSION_NAMES = ("tensorflow.VERSION", "tensorflow.__version__", "tensorflow.version.VERSION")

# Names of TensorFlow 1 alone that are ours though TensorFlow has them still.
VERSION_1_NAMES = {
    f"tensorflow.{name}": f"{_LEGACY}.eager_execution:{name}"
    for name in ("enable_eager_execution", "enable_v2_behavior")
}

# TensorFlow's own Keras is Keras 3; programs of that time mean Keras 2, which lives on as tf_keras. By version of the
# `tf` that a program sees, then by path.
KERAS_2: Mapping[int, Mapping[str, str]] = {
    1: {
        "tensorflow.keras": "tf_keras.api._v1.keras",
        "tensorflow.nn.rnn_cell": "tf_keras.api._v1.keras.__internal__.legacy.rnn_cell",
    },
    2: {
        "tensorflow.initializers": "tf_keras.api._v2.keras.initializers",
        "tensorflow.keras": "tf_keras.api._v2.keras",
        "tensorflow.losses": "tf_keras.api._v2.keras.losses",
        "tensorflow.metrics": "tf_keras.api._v2.keras.metrics",
        "tensorflow.optimizers": "tf_keras.api._v2.keras.optimizers",
    },
}
# Import paths that mean Keras 2, wherever they stand.
KERAS_2_PACKAGES = {
    "tensorflow.contrib.keras": "tf_keras",
    "tensorflow.keras": "tf_keras",
    "tensorflow.python.keras": "tf_keras.src",
}
