"""The step program: one step of a model_fn as a function of its batch, with every variable it touches named.

`trace_step` calls the step function once with symbolic tensors, in a graph of its own, and cuts out of it what has to
run. What TensorFlow 1 code expects of its graph is there: collections, `get_variable` with reuse, the global step.
"""

import contextlib
import dataclasses
import gc
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import tensorflow as tf
from tensorflow.python.eager.polymorphic_function.polymorphic_function import OptionalXlaContext
from tensorflow.python.framework import func_graph, ops

from trainer import replica
from trainer.engine import keras_seeds, randomness, subgraph, tpu_functions
from trainer.engine import variables as variable_stores
from trainer.engine.effects import Effects
from trainer.engine.step_graph import StepGraph

# How TensorFlow calls the gradients that it registers for `tf.custom_gradient`; a program's own names are its own.
_CUSTOM_GRADIENT = "CustomGradient-"
# A trace puts functions of its own in place of some of TensorFlow's: another thread's must not see them come and go.
_TRACING = threading.RLock()


@dataclasses.dataclass(frozen=True)
class StepResult:
    """What a step function returns.

    Fields:
      replicated: nested mapping of tensors that are the same on every replica.
      per_replica: nested mapping of tensors `[per_replica_batch, ...]`, to be concatenated over replicas on axis 0.
      targets: operations and tensors that must run, beside what the outputs need.
      effects: which further side effects run.
      payload: any Python value (hooks, functions...), handed back in `StepProgram.payload`.
      feeds: placeholders that the step function made itself: further inputs, after the batch.
    """

    replicated: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    per_replica: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    targets: Sequence[tf.Operation | tf.Tensor] = ()
    effects: Effects = Effects.REQUESTED
    payload: Any = None
    feeds: Sequence[tf.Tensor] = ()


@dataclasses.dataclass(frozen=True)
class StepProgram:
    """One step, `(state, batch) -> (state, outputs)`: what every engine runs.

    Fields:
      concrete_function: takes the flat batch tensors, in the order of `batch_specs`, returns the flat outputs as a
        list, and captures `variables`. Everything that must run is an output or a control output of it. It may be
        called inside `tf.function(..., jit_compile=True)`, which then captures the variables in the same order.
      batch_specs: the flat batch of one replica. Dimensions are static where the engine asked for it.
      variables: the state, in the order of capture; `captured_inputs` of the function are their handles, followed by
        constants, if the step function closed over any.
      output_structure: nest of `TensorSpec`s: `{"replicated": ..., "per_replica": ...}`, see `StepResult`.
      is_per_replica: for each flat output, whether it is to be concatenated over replicas.
      payload: whatever else the step function returned.
      trace: where this program was cut from, for variants of it.
    """

    concrete_function: Any
    batch_specs: tuple[tf.TensorSpec, ...]
    variables: tuple[tf.Variable, ...]
    output_structure: Any
    is_per_replica: tuple[bool, ...]
    payload: Any
    trace: "StepTrace"

    def dismantle(self) -> None:
        """Frees the program, its trace and the trace's variables, none of which can be used afterwards.

        Python cannot: operations and graphs hold one another where its garbage collector does not see it, and
        TensorFlow keeps each custom gradient, with the variables around it, for ever.
        """
        for graph in (self.concrete_function.graph, self.trace.graph):
            for operation in graph.get_operations():
                gradient = operation.node_def.attr["_gradient_op_type"].s.decode()
                if gradient.startswith(_CUSTOM_GRADIENT):
                    ops.gradient_registry._registry.pop(gradient, None)
            func_graph.dismantle_func_graph(graph)
        gc.collect()  # variables are large, and few objects: it would not run by itself

    def pack_outputs(self, flat_outputs: Sequence[Any]) -> Any:
        """Returns flat outputs as `{"replicated": ..., "per_replica": ...}`."""
        return tf.nest.pack_sequence_as(self.output_structure, flat_outputs, expand_composites=True)


@dataclasses.dataclass(frozen=True)
class StepTrace:
    """A traced step: its graph, the store that holds its variables, and which lookup tables it has filled."""

    graph: func_graph.FuncGraph
    store: variable_stores.VariableStore
    inputs: tuple[tf.Tensor, ...]
    result: StepResult
    context: replica.ReplicaContext
    variables: variable_stores.VariableTrace
    filled_tables: set[tf.Operation] = dataclasses.field(default_factory=set)

    @contextlib.contextmanager
    def extending(self) -> Iterator[None]:
        """Lets the `with` block add operations and variables to the graph; initialises the new variables."""
        with self.variables.creating(), self.graph.as_default(), _graph_variable_scope():
            yield
        self.initialise()

    def initialise(self) -> None:
        """Fills new lookup tables and gives new variables their first values."""
        new_tables = [one for one in self.table_initializers() if one not in self.filled_tables]
        if new_tables:
            self.function((), (), new_tables)()
            self.filled_tables.update(new_tables)
        created = self.variables.take_created()
        if created:
            initial_values = self.function((), [variable.initial_value for variable in created])()
            for variable, value in zip(created, initial_values, strict=True):
                variable.assign(value)
        self.store.record_initial_local_values()

    def table_initializers(self) -> list[tf.Operation]:
        """Returns the operations that fill lookup tables; tables that Keras makes are filled already, and have none."""
        tables = self.graph.get_collection(tf.compat.v1.GraphKeys.TABLE_INITIALIZERS)
        return [one for one in tables if one is not None]

    def initializers(self) -> list[tf.Operation]:
        """Returns the operations that give variables other first values, made by `init_from_checkpoint`."""
        found = [getattr(variable, "_initializer_op", None) for variable in self.store.values()]
        return [operation for operation in found if operation is not None and operation.graph is self.graph]

    def program(self, fetches: Mapping[str, Any] | None = None, feeds: Sequence[tf.Tensor] = ()) -> StepProgram:
        """Returns the step as a program, with further tensors and operations of the graph under `fetches`.

        Args:
          fetches: nested mapping; becomes the output `fetches` in `replicated`. An operation runs, and gives 0.
          feeds: further tensors of the graph that the program takes after its batch.
        """
        replicated = dict(self.result.replicated)
        if fetches is not None:
            replicated["fetches"] = tf.nest.map_structure(self._as_tensor, fetches)
        outputs = {"replicated": replicated, "per_replica": dict(self.result.per_replica)}
        with self.graph.as_default():
            outputs = tf.nest.map_structure(_as_graph_tensor, outputs)
        inputs = (*self.inputs, *feeds)
        function = subgraph.cut(
            self.graph,
            inputs,
            self._flat(outputs),
            [_operation_of(target) for target in self.result.targets],
            self.result.effects,
            _random_key(self.graph, self.context),
        )
        return StepProgram(
            concrete_function=function,
            batch_specs=tuple(tf.TensorSpec(tensor.shape, tensor.dtype) for tensor in inputs),
            variables=self._captured_variables(function),
            output_structure=tf.nest.map_structure(tf.type_spec_from_value, outputs),
            is_per_replica=_is_per_replica(outputs),
            payload=self.result.payload,
            trace=self,
        )

    def function(
        self,
        feeds: Sequence[tf.Tensor],
        outputs: Any,
        targets: Sequence[tf.Operation | tf.Tensor] = (),
    ) -> Any:
        """Returns the part of the graph between `feeds` and `outputs` as a concrete function of flat tensors.

        It also runs `targets`, and nothing else that has side effects.

        Raises:
          UnfedInputError: `outputs` depend on the step's batch and `feeds` does not hold it.
        """
        return subgraph.cut(self.graph, feeds, self._flat(outputs), [_operation_of(target) for target in targets])

    def _flat(self, outputs: Any) -> list[tf.Tensor]:
        return [self.graph.capture(tensor) for tensor in tf.nest.flatten(outputs, expand_composites=True)]

    def _as_tensor(self, fetch: Any) -> tf.Tensor:
        if not isinstance(fetch, tf.Operation):
            return fetch
        with self.graph.as_default(), tf.control_dependencies([fetch]):
            return tf.constant(0, name="done")

    def _captured_variables(self, function: Any) -> tuple[tf.Variable, ...]:
        by_handle = {id(variable.handle): variable for variable in self.store.values()}
        return tuple(by_handle[id(handle)] for handle in function.captured_inputs if id(handle) in by_handle)


def trace_step(
    step_fn: Callable[[Any], StepResult],
    batch_spec: Any,
    store: variable_stores.VariableStore,
    context: replica.ReplicaContext | None = None,
    seed: int | None = None,
    *,
    counts_runs: bool = False,
) -> StepProgram:
    """Traces one step and initialises the variables that it created. Threads wait for one another's traces.

    Args:
      step_fn: takes the batch of one replica, structured as `batch_spec`, as symbolic tensors.
      batch_spec: nest of `TypeSpec`s.
      store: where variables are found by name, and created.
      context: how replicas talk to one another; None for one replica.
      seed: graph-level random seed, as `tf.compat.v1.set_random_seed` sets it.
      counts_runs: whether each run draws random numbers of its own, though the global step stays as it is.
    """
    graph = StepGraph("step", store)
    graph.seed = seed
    variables = variable_stores.VariableTrace(store, graph)
    with variables.creating(), graph.as_default(), _graph_variable_scope():
        inputs = [
            tf.compat.v1.placeholder(spec.dtype, spec.shape, name="batch")
            for spec in tf.nest.flatten(batch_spec, expand_composites=True)
        ]
        batch = tf.nest.pack_sequence_as(batch_spec, inputs, expand_composites=True)
        context = context or replica.ReplicaContext()
        runs = variable_stores.count_runs(graph) if counts_runs else None
        with (
            _TRACING,
            replica.tracing(context),
            tpu_functions.routed_to(context),
            randomness.keyed_in_control_flow(graph, _random_key(graph, context)),
            OptionalXlaContext(context.is_for_xla),
        ):
            keras_seeds.differ_by_replica()
            result = step_fn(batch)
        if runs is not None and _draws_random_numbers(graph):
            result = dataclasses.replace(result, targets=[*result.targets, runs.assign_add(1)])
    graph.end_trace()
    store.adopt(graph._watched_variables)
    trace = StepTrace(graph, store, (*inputs, *result.feeds), result, context, variables)
    trace.initialise()
    return trace.program()


def _random_key(graph: tf.Graph, context: replica.ReplicaContext) -> randomness.RandomKey:
    return randomness.RandomKey(variable_stores.run_before(graph), context.replica_id)


def _draws_random_numbers(graph: tf.Graph) -> bool:
    """Returns whether any depend on which run it is: in branches and loops they have asked for it."""
    return bool(variable_stores.run_before(graph).consumers()) or any(
        map(randomness.is_keyed_by_step, graph.get_operations())
    )


def _graph_variable_scope() -> Any:
    scope = tf.compat.v1.get_variable_scope()
    return tf.compat.v1.variable_scope(scope, use_resource=True, initializer=scope.initializer or _first_value)


def _first_value(shape: Any, dtype: tf.DType = tf.float32, partition_info: Any = None) -> tf.Tensor:
    """Initialises variables that have no initializer as TensorFlow 1 does; Keras's own ignore the graph's seed.

    A part of a partitioned variable, which `partition_info` tells of, begins with numbers that suit the whole.
    """
    if dtype.is_floating or dtype.is_complex:
        return tf.compat.v1.glorot_uniform_initializer()(shape, dtype, partition_info)
    return tf.compat.v1.zeros_initializer()(shape, dtype)


def _is_per_replica(outputs: Mapping[str, Any]) -> tuple[bool, ...]:
    # Mappings are flattened in the order of their keys: per_replica comes first.
    counts = {kind: len(tf.nest.flatten(outputs[kind], expand_composites=True)) for kind in outputs}
    return (True,) * counts["per_replica"] + (False,) * counts["replicated"]


def _operation_of(target: tf.Operation | tf.Tensor) -> tf.Operation:
    return target if isinstance(target, tf.Operation) else target.op


def _as_graph_tensor(value: Any) -> Any:
    is_composite = tf.is_tensor(value) and not isinstance(value, tf.Variable)
    return value if is_composite else tf.convert_to_tensor(value)
