"""Cuts the part of a traced graph that has to run out of it, as a function of its own."""

import dataclasses
from collections.abc import Iterable, Sequence
from typing import Any

import tensorflow as tf
from tensorflow.core.function.polymorphism import function_type as function_types
from tensorflow.python.eager.polymorphic_function import concrete_function as concrete_functions
from tensorflow.python.framework import func_graph

from trainer.engine import effects as side_effects
from trainer.engine import randomness
from trainer.engine.effects import Effects
from trainer.engine.randomness import RandomKey


class UnfedInputError(ValueError):
    """Something needed depends on an input of the graph that is not fed."""


def cut(
    source: func_graph.FuncGraph,
    feeds: Sequence[tf.Tensor],
    outputs: Sequence[tf.Tensor],
    targets: Sequence[tf.Operation],
    effects: Effects = Effects.REQUESTED,
    random_key: RandomKey | None = None,
) -> Any:
    """Returns a concrete function from `feeds` to `outputs`, both flat, that also runs `targets` and side effects.

    The source stays as it was, so that many functions can be cut out of one trace.

    Args:
      source: the graph of the trace.
      feeds: tensors of the graph that become the arguments.
      outputs: tensors of the graph that become the results; variables that they need are captured.
      targets: operations that run in any case.
      effects: which side effects run beside.
      random_key: what random operations with a seed depend on; None leaves them as they are.

    Raises:
      UnfedInputError: something needed depends on an input of the graph that is not fed.
    """
    requested = [*targets, *(tensor.op for tensor in outputs)]
    boundary = {tensor.op for tensor in feeds}
    required = side_effects.required_operations(source, requested, effects, boundary)
    if random_key is not None and any(map(randomness.is_keyed_by_step, required)):
        required |= side_effects.required_operations(source, [random_key.step.op], Effects.REQUESTED)
    _check_fed(source, required - boundary)
    copy = _GraphCopy(source, random_key)
    copy.add_feeds(feeds)
    copy.add_operations(_inputs_first(operation for operation in source.get_operations() if operation in required))
    return copy.function(outputs, {*targets, *filter(side_effects.has_effect, required)})


def _inputs_first(operations: Iterable[tf.Operation]) -> list[tf.Operation]:
    """Returns operations in the order of the text, but each behind its inputs.

    The gradient of a loop gives the loop further inputs, which are younger than the loop.
    """
    in_text_order = list(operations)
    wanted = set(in_text_order)
    ordered: dict[tf.Operation, None] = {}
    stack = in_text_order[::-1]
    while stack:
        operation = stack[-1]
        first = [tensor.op for tensor in operation.inputs if tensor.op in wanted and tensor.op not in ordered]
        if operation in ordered or not first:
            ordered.setdefault(operation)
            stack.pop()
        else:
            stack += first[::-1]
    return list(ordered)


def _check_fed(source: func_graph.FuncGraph, required: set[tf.Operation]) -> None:
    captured = {tensor.op for tensor in source.internal_captures}
    for operation in required - captured:
        if operation.type == "Placeholder":
            raise UnfedInputError(
                f"{operation.name!r} of the step's batch is needed here and has no value outside a step; "
                f"fetch what depends on it together with a step (SessionRunArgs of before_run)"
            )


class _GraphCopy:
    """A graph that grows by copies of another's operations, in the order of the original's text."""

    def __init__(self, source: func_graph.FuncGraph, random_key: RandomKey | None):
        self._source = source
        self._random_key = random_key
        self._graph = func_graph.FuncGraph(source.name, collections={})
        self._fed: dict[tuple[tf.Operation, int], tf.Tensor] = {}
        self._operations: dict[tf.Operation, tf.Operation] = {}
        self._order = side_effects.EffectOrder()
        self._feeds: list[tf.Tensor] = []
        for function in source._functions.values():
            self._graph._add_function(function)

    def add_feeds(self, feeds: Sequence[tf.Tensor]) -> None:
        """Makes placeholders for `feeds`: the first arguments."""
        with self._graph.as_default():
            for feed in feeds:
                copied = tf.compat.v1.placeholder(feed.dtype, feed.shape, name=feed.op.name)
                self._feeds.append(copied)
                self._fed[feed.op, feed.value_index] = copied
                self._operations[feed.op] = copied.op

    def add_operations(self, operations: Iterable[tf.Operation]) -> None:
        """Copies operations whose inputs are here already; those that touch the same variable wait for each other."""
        captures = {internal.op: external for external, internal in self._source.captures}
        with self._graph.as_default():
            for operation in operations:
                if operation in self._operations:
                    continue
                if operation in captures:
                    self._operations[operation] = self._graph.capture(captures[operation], name=operation.name).op
                else:
                    self._copy(operation)

    def _copy(self, operation: tf.Operation) -> None:
        inputs = [self._copy_of(tensor) for tensor in operation.inputs]
        key = self._random_key
        if key is not None and randomness.is_keyed_by_step(operation):
            copied_key = dataclasses.replace(key, step=self._copy_of(key.step))
            with tf.name_scope(operation.name):  # errors tell an operation's line by its name
                self._operations[operation] = randomness.at_step(operation, inputs, copied_key).op
            return
        before = {*operation.control_inputs, *self._order.predecessors(operation)}
        waits_for = [self._operations[other] for other in before if other in self._operations]
        attributes = {name: value for name, value in operation.node_def.attr.items() if name != "_class"}
        with tf.control_dependencies(waits_for), tf.device(operation.device or None):
            self._operations[operation] = self._graph.create_op(
                op_type=operation.type,
                inputs=inputs,
                dtypes=[tensor.dtype for tensor in operation.outputs],
                attrs=attributes,
                name=operation.name,
            )

    def _copy_of(self, tensor: tf.Tensor) -> tf.Tensor:
        fed = self._fed.get((tensor.op, tensor.value_index))
        return self._operations[tensor.op].outputs[tensor.value_index] if fed is None else fed

    def function(self, outputs: Sequence[tf.Tensor], must_run: Iterable[tf.Operation]) -> Any:
        """Returns the copy as a concrete function."""
        graph = self._graph
        graph.inputs = [*self._feeds, *graph.internal_captures]
        # An output that is an argument, or the same twice, gets a tensor of its own.
        with graph.as_default():
            graph.outputs = [tf.identity(self._copy_of(tensor)) for tensor in outputs]
        graph.control_outputs = [self._operations[operation] for operation in must_run]
        graph.structured_input_signature = (tuple(tf.TensorSpec(feed.shape, feed.dtype) for feed in self._feeds), {})
        graph.structured_outputs = list(graph.outputs)
        return concrete_functions.ConcreteFunction.from_func_graph(graph, _function_type(graph), attrs={})


def _function_type(graph: func_graph.FuncGraph) -> Any:
    return function_types.from_structured_signature(
        graph.structured_input_signature,
        graph.structured_outputs,
        graph.function_captures.capture_types,
        are_keyword_args_also_positional=False,
    )
