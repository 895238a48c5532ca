"""Evaluation metrics of three kinds, in one form: what to run at each step, and what to read at the end.

- `trainer.nn.metrics.AdditiveMetric`: statistics that are summed here, on the host, in float64;
- `(value, update_op)` of `tf.compat.v1.metrics`: local variables that the update changes;
- a Keras metric: its variables, changed where the model_fn or metric_fn called `update_state`.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from trainer.engine import effects, host_values, step_program
from trainer.nn.metrics import AdditiveMetric

# What an evaluation reports by itself.
_RESERVED_NAMES = ("loss", "global_step")


@dataclasses.dataclass(frozen=True)
class TracedMetrics:
    """The metrics of one trace.

    Fields:
      statistics: by metric, the tensors to sum over all steps.
      finalizers: by metric, from those sums to its value.
      values: by metric, the tensor to read when all updates have run.
      updates: operations to run at each step.
      variables: what the updates change: local to the evaluation.
    """

    statistics: Mapping[str, Mapping[str, tf.Tensor]]
    finalizers: Mapping[str, Callable[[Mapping[str, np.ndarray]], Any]]
    values: Mapping[str, tf.Tensor]
    updates: Sequence[tf.Operation | tf.Tensor]
    variables: Sequence[tf.Variable]


def trace(metrics: Mapping[str, Any] | None) -> TracedMetrics:
    """Takes stock of the metrics that a model_fn or metric_fn made in the graph being traced.

    Raises:
      ValueError: a metric has a name that is taken.
      TypeError: a metric is of no known kind, or they have no names.
    """
    metrics = _by_name(metrics)
    for name in _RESERVED_NAMES:
        if name in metrics:
            raise ValueError(f"Metric with name {name!r} is not allowed: an evaluation reports it by itself; rename it")
    additive = {name: metric for name, metric in metrics.items() if isinstance(metric, AdditiveMetric)}
    keras = {name: metric for name, metric in metrics.items() if _is_keras_metric(metric)}
    pairs = {name: metric for name, metric in metrics.items() if name not in additive and name not in keras}
    for name, metric in pairs.items():
        if not isinstance(metric, (tuple, list)) or len(metric) != 2:
            raise TypeError(
                f"metric {name!r} must be a (value, update_op) pair, a Keras metric or an AdditiveMetric, "
                f"got {metric!r}"
            )
    variables = keras_variables(metrics)
    graph = tf.compat.v1.get_default_graph()
    results = {name: metric.result() for name, metric in keras.items()}
    return TracedMetrics(
        statistics={name: dict(metric.statistics) for name, metric in additive.items()},
        finalizers={name: metric.finalize for name, metric in additive.items()},
        values={**{name: tf.convert_to_tensor(value) for name, (value, _) in pairs.items()}, **results},
        updates=[*(update for _, update in pairs.values()), *effects.writes_to(graph, variables)],
        variables=variables,
    )


def keras_variables(metrics: Mapping[str, Any] | None) -> list[tf.Variable]:
    """Returns the variables of those of the metrics that are Keras metrics.

    Raises:
      TypeError: the metrics have no names.
    """
    keras = [metric for metric in _by_name(metrics).values() if _is_keras_metric(metric)]
    return [_tf_variable(variable) for metric in keras for variable in metric.variables]


def _by_name(metrics: Any) -> Mapping[str, Any]:
    if metrics is not None and not isinstance(metrics, Mapping):
        raise TypeError(f"evaluation metrics must be a dict, name to metric, got {metrics!r}")
    return metrics or {}


def _is_keras_metric(metric: Any) -> bool:
    return all(hasattr(metric, name) for name in ("update_state", "result", "variables"))


def _tf_variable(variable: Any) -> tf.Variable:
    return variable if isinstance(variable, tf.Variable) else variable.value


class Accumulator:
    """Adds up the metrics of an evaluation; serves one after another."""

    def __init__(self, program: step_program.StepProgram, metrics: TracedMetrics):
        self._metrics = metrics
        self._store = program.trace.store
        self._store.mark_local(metrics.variables)
        self._read_values = program.trace.function((), dict(metrics.values)) if metrics.values else list
        self._sums: dict[str, dict[str, Any]] = {}

    def reset(self) -> None:
        """Begins a new evaluation."""
        self._store.reset_local()
        self._sums = {}

    def add(self, statistics: Mapping[str, Mapping[str, Any]]) -> None:
        """Adds one step's statistics, by metric."""
        for name, step_statistics in statistics.items():
            sums = self._sums.setdefault(name, {})
            for key, value in step_statistics.items():
                added = host_values.array(value)
                sums[key] = sums.get(key, 0) + (added if added.dtype.kind in "iu" else added.astype(np.float64))

    def result(self) -> dict[str, Any]:
        """Returns the value of every metric."""
        read = [host_values.array(value) for value in self._read_values()]
        values = dict(zip(sorted(self._metrics.values), read, strict=True))
        finalized = {name: finalize(self._sums[name]) for name, finalize in self._metrics.finalizers.items()}
        return {name: _unwrapped(value) for name, value in {**values, **finalized}.items()}


def _unwrapped(value: Any) -> Any:
    return value[()] if isinstance(value, np.ndarray) and value.ndim == 0 else value
