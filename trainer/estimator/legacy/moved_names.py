"""The part of the table for TensorFlow's source: what lay elsewhere in it in the days of TensorFlow 1."""

from collections.abc import Mapping

from trainer.estimator.legacy.row import Row, of

_CONTEXT = Row(rest="tensorflow.python.distribute.distribute_lib")
_TRACKABLE = {
    **of("tensorflow.python.trackable.autotrackable", "AutoTrackable"),
    **of("tensorflow.python.trackable.base", "Trackable"),
}

MODULES: Mapping[str, Row] = {
    f"tensorflow.python.{path}": row
    for path, row in {
        "data.experimental.ops.optimization": Row(of("tensorflow._api.v2.data.experimental", "AUTOTUNE")),
        "distribute.distribution_strategy_context": _CONTEXT,
        "framework.graph_util": Row(of("tensorflow._api.v2.compat.v1.graph_util", "convert_variables_to_constants")),
        "framework.ops": Row(
            {
                **of("tensorflow", "IndexedSlices", "Tensor", "register_tensor_conversion_function"),
                **of("tensorflow.python.framework.indexed_slices", "convert_to_tensor_or_indexed_slices"),
            }
        ),
        "layers.normalization": Row(
            of("trainer.estimator.legacy.batch_normalization", "BatchNormalization"),
            rest="tf_keras.api._v1.keras.__internal__.legacy.layers",
        ),
        "ops.array_ops": Row(of("tensorflow", "stack", "unstack")),
        "ops.control_flow_ops": Row(
            {
                **of("tensorflow._api.v2.compat.v1", "Assert", "case", "cond", "while_loop"),
                **of("tensorflow", "switch_case"),
            }
        ),
        "ops.functional_ops": Row(of("tensorflow._api.v2.compat.v1", "map_fn")),
        "training.distribution_strategy_context": _CONTEXT,
        "training.tracking.base": Row(_TRACKABLE),
        "training.tracking.tracking": Row(_TRACKABLE),
        "training.training_ops": Row(rest="tensorflow.python.ops.gen_training_ops"),
        "util.nest": Row({"is_sequence": "tensorflow.python.util.nest:is_nested"}),
    }.items()
}
