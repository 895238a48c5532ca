"""What one step is in each mode: calls the model_fn, and says which tensors leave the device and what must run."""

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import tensorflow as tf

from trainer import replica
from trainer.engine.effects import Effects
from trainer.engine.spec import EstimatorSpec, ModeKeys, TPUEstimatorSpec
from trainer.engine.step_program import StepResult
from trainer.estimator import evaluation_metrics, model_summaries
from trainer.estimator.evaluation_metrics import TracedMetrics
from trainer.estimator.model_summaries import TracedSummaries

Spec = EstimatorSpec | TPUEstimatorSpec
# What a sum over replicas is in a traced graph.
_ALL_REDUCE = "XlaAllReduce"
# Takes (features, labels), returns the spec.
ModelCall = Callable[[Any, Any], Spec]


@dataclasses.dataclass(frozen=True)
class TrainingPayload:
    """What a training trace leaves in Python.

    Fields:
      hooks: the spec's training hooks.
      chief_hooks: those that only the process that saves runs.
      summaries: the model_fn's own, made of the outputs of that name, or None.
      make_scaffold: as in the spec, or None.
      host_call: the function of the spec's host_call; takes the output of that name.
      metric_variables: what metrics, made though nobody evaluates, have made: no part of the model.
    """

    hooks: Sequence[Any]
    chief_hooks: Sequence[Any]
    summaries: TracedSummaries | None
    make_scaffold: Callable[[], Any] | None
    host_call: Callable[..., Any] | None
    metric_variables: Sequence[tf.Variable]


@dataclasses.dataclass(frozen=True)
class EvaluationPayload:
    """What an evaluation trace leaves in Python.

    Fields:
      hooks: the spec's evaluation hooks.
      make_scaffold: as in the spec, or None.
      metrics: of an `EstimatorSpec`: part of the same step.
      metric_fn: of a `TPUEstimatorSpec`: takes the output `metric_tensors` on the host.
    """

    hooks: Sequence[Any]
    make_scaffold: Callable[[], Any] | None
    metrics: TracedMetrics
    metric_fn: Callable[..., Any] | None

    @property
    def metric_variables(self) -> Sequence[tf.Variable]:
        """The variables that hold what metrics have seen so far."""
        return self.metrics.variables


@dataclasses.dataclass(frozen=True)
class PredictionPayload:
    """What a prediction trace leaves in Python: the spec's hooks, scaffold and export outputs."""

    hooks: Sequence[Any]
    make_scaffold: Callable[[], Any] | None
    export_outputs: Mapping[str, Any] | None


def training_step(model_call: ModelCall) -> Callable[[Any], StepResult]:
    """Returns the step function of training.

    Outputs: `loss` and `scalars` (means over replicas), `summaries`, `global_step` (after the step), `host_call`.
    """

    def step(batch: Any) -> StepResult:
        spec = model_call(*split(batch))
        _check_gradients_are_shared()
        with tf.control_dependencies([spec.train_op]):
            global_step = tf.compat.v1.train.get_global_step().read_value()
        host_call = getattr(spec, "host_call", None)
        scalars = {name: _replica_mean(value) for name, value in (getattr(spec, "scalars", None) or {}).items()}
        summaries = model_summaries.trace()
        return StepResult(
            replicated={
                "loss": _replica_mean(spec.loss),
                "scalars": scalars,
                "summaries": list(summaries.inputs) if summaries else [],
                "global_step": global_step,
            },
            per_replica={"host_call": _outfed(host_call)} if host_call else {},
            targets=[spec.train_op],
            effects=Effects.LOOSE,
            payload=TrainingPayload(
                hooks=spec.training_hooks or (),
                chief_hooks=getattr(spec, "training_chief_hooks", None) or (),
                summaries=summaries,
                make_scaffold=scaffold_maker(spec),
                host_call=host_call[0] if host_call else None,
                metric_variables=evaluation_metrics.keras_variables(getattr(spec, "eval_metric_ops", None)),
            ),
        )

    return step


def evaluation_step(model_call: ModelCall) -> Callable[[Any], StepResult]:
    """Returns the step function of evaluation.

    Outputs: `loss` (mean over replicas), `statistics` (by metric), `metric_tensors`.
    """

    def step(batch: Any) -> StepResult:
        spec = model_call(*split(batch))
        metrics = evaluation_metrics.trace(spec.eval_metric_ops if isinstance(spec, EstimatorSpec) else None)
        eval_metrics = spec.eval_metrics if isinstance(spec, TPUEstimatorSpec) else None
        return StepResult(
            replicated={"loss": _replica_mean(spec.loss), "statistics": metrics.statistics},
            per_replica={"metric_tensors": _outfed(eval_metrics)} if eval_metrics else {},
            targets=metrics.updates,
            effects=Effects.REQUESTED,
            payload=EvaluationPayload(
                hooks=spec.evaluation_hooks or (),
                make_scaffold=scaffold_maker(spec),
                metrics=metrics,
                metric_fn=eval_metrics[0] if eval_metrics else None,
            ),
        )

    return step


def prediction_step(model_call: ModelCall) -> Callable[[Any], StepResult]:
    """Returns the step function of prediction. Output: `predictions`."""

    def step(batch: Any) -> StepResult:
        # A Dataset made for evaluation may have labels: they are not for the model to see.
        spec = model_call(split(batch)[0], None)
        _check_rows(spec.predictions)
        return StepResult(
            per_replica={"predictions": spec.predictions},
            effects=Effects.REQUESTED,
            payload=PredictionPayload(spec.prediction_hooks or (), scaffold_maker(spec), spec.export_outputs),
        )

    return step


def outfeeding(step: Callable[[Any], StepResult], *, from_first_replica: bool) -> Callable[[Any], StepResult]:
    """Returns a step function that gives the host what all replicas have computed, or what the first of them has.

    The first stands for all where each sees the whole batch. Else what they give is concatenated.

    Raises (the returned function):
      ValueError: a tensor of several replicas is a scalar.
    """

    def outfed_step(batch: Any) -> StepResult:
        result = step(batch)
        if from_first_replica:
            return dataclasses.replace(result, replicated={**result.replicated, **result.per_replica}, per_replica={})
        if replica.current().num_replicas > 1:
            _check_has_rows(tf.nest.flatten(result.per_replica))
        return result

    return outfed_step


def _check_has_rows(tensors: Sequence[tf.Tensor]) -> None:
    for tensor in tensors:
        if tensor.shape.rank == 0:
            raise ValueError(
                f"All tensors outfed from TPU should preserve batch size dimension, but got scalar {tensor} in "
                f"eval_metrics or host_call; give it an axis of replicas, tf.reshape(tensor, [1]), and reduce it in "
                f"the function"
            )


def _check_rows(predictions: Any) -> None:
    """Refuses what cannot be concatenated over replicas."""
    named = predictions if isinstance(predictions, Mapping) else {"predictions": predictions}
    for name, value in named.items():
        if replica.current().is_for_xla and value.shape.rank == 0:
            raise ValueError(f"the prediction {name!r} is a scalar; give every prediction one row per example")


def metrics_step(metric_fn: Callable[..., Any]) -> Callable[[Any], StepResult]:
    """Returns the step function of a metric_fn on the host. Output: `statistics`; the payload is `TracedMetrics`."""

    def step(tensors: Any) -> StepResult:
        made = metric_fn(**tensors) if isinstance(tensors, Mapping) else metric_fn(*tensors)
        metrics = evaluation_metrics.trace(made)
        return StepResult(
            replicated={"statistics": metrics.statistics},
            targets=metrics.updates,
            effects=Effects.REQUESTED,
            payload=metrics,
        )

    return step


def split(batch: Any) -> tuple[Any, Any]:
    """Returns `(features, labels)` of what an input_fn yields; labels may be None."""
    if isinstance(batch, (tuple, list)) and len(batch) == 2:
        return tuple(batch)
    return batch, None


def _check_gradients_are_shared() -> None:
    if replica.current().num_replicas > 1 and not _sums_over_replicas(tf.compat.v1.get_default_graph()):
        raise ValueError(
            "CrossShardOptimizer must be used for model training on TPUs: nothing sums gradients over replicas; "
            "wrap the optimizer: tf.compat.v1.tpu.CrossShardOptimizer(optimizer)"
        )


def _sums_over_replicas(graph: tf.Graph) -> bool:
    """Returns whether there is such an operation, also in branches and loops (gradients may be summed up first)."""
    if any(operation.type == _ALL_REDUCE for operation in graph.get_operations()):
        return True
    bodies = graph.as_graph_def().library.function
    return any(node.op == _ALL_REDUCE for function in bodies for node in function.node_def)


def _replica_mean(value: tf.Tensor) -> tf.Tensor:
    context = replica.current()
    if context.num_replicas == 1:
        return tf.convert_to_tensor(value)
    total = context.all_reduce_sum(tf.cast(value, tf.float32))
    return tf.cast(total / context.num_replicas, value.dtype)


def _outfed(function_and_tensors: tuple[Callable[..., Any], Any]) -> Any:
    """Returns the tensors of a host function."""
    tensors = function_and_tensors[1]
    return tf.nest.map_structure(tf.convert_to_tensor, dict(tensors) if isinstance(tensors, Mapping) else list(tensors))


def scaffold_maker(spec: Spec) -> Callable[[], Any] | None:
    """Returns what makes the spec's Scaffold, to be called in the graph; None without one."""
    if isinstance(spec, TPUEstimatorSpec):
        return functools.partial(_checked_scaffold, spec.scaffold_fn) if spec.scaffold_fn is not None else None
    return (lambda: spec.scaffold) if spec.scaffold is not None else None


def _checked_scaffold(scaffold_fn: Callable[[], Any]) -> Any:
    scaffold = scaffold_fn()
    if scaffold is None:
        raise ValueError("the scaffold_fn of the model_fn returns None; return a tf.compat.v1.train.Scaffold")
    return scaffold


MAKE_STEP = {
    ModeKeys.TRAIN: training_step,
    ModeKeys.EVAL: evaluation_step,
    ModeKeys.PREDICT: prediction_step,
}
