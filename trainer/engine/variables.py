"""Variables by name: created at the first trace of a model_fn, found again at each later one."""

import collections
import contextlib
import dataclasses
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow.python.ops import resource_variable_ops

from trainer.engine import step_graph

GLOBAL_STEP_NAME = "global_step"
# Where `tf.compat.v1.train` looks for the step's value.
_GLOBAL_STEP_READ_COLLECTION = "global_step_read_op_cache"
_RUNS_READ_COLLECTION = "runs_read"
# No program has a variable or a scope of this name.
_RUNS_NAME = "trainer.runs"
_LOCAL = tf.compat.v1.GraphKeys.LOCAL_VARIABLES
_LOCAL_COLLECTIONS = frozenset({_LOCAL, tf.compat.v1.GraphKeys.METRIC_VARIABLES})


@dataclasses.dataclass(frozen=True)
class _VariableOp:
    """What programs written for graphs ask a variable's `op` for."""

    name: str
    device: str
    type: str = "VarHandleOp"
    graph: None = None
    traceback: tuple[()] = ()  # `get_variable` tells it of a name that is taken; an earlier trace made the variable


class StoredVariable(resource_variable_ops.UninitializedVariable):
    """A variable that lives outside graphs, yet answers as a graph's variable does: `op.name`, `initial_value`.

    Compared with another variable it is equal to itself alone, so that programs can look for it in lists and sets;
    compared with anything else, elementwise, as TensorFlow 2 does.
    """

    def __eq__(self, other: object) -> Any:
        return self is other if isinstance(other, tf.Variable) else super().__eq__(other)

    def __ne__(self, other: object) -> Any:
        return self is not other if isinstance(other, tf.Variable) else super().__ne__(other)

    def __hash__(self) -> int:
        return id(self)

    @property
    def op(self) -> Any:
        """Its name and device, as graphs' variables have them in their operation."""
        return _VariableOp(self.name.partition(":")[0], self.device)

    @property
    def initial_value(self) -> tf.Tensor:
        """The value it starts from: a tensor of the latest trace's graph."""
        return self._initial_value

    @property
    def initializer(self) -> tf.Operation | None:
        """In a graph, an operation that gives it the first value that this graph has for it; None outside graphs.

        It does nothing in a graph that has none: the variable has its value. The step does not run it by itself.
        """
        if tf.executing_eagerly():
            return None
        graph = tf.compat.v1.get_default_graph()
        if self._initializer_op is not None and self._initializer_op.graph is graph:
            return self._initializer_op  # of `init_from_checkpoint`
        value = self._initial_value
        if value is None or value.graph is not graph:
            return tf.no_op()
        return tf.raw_ops.AssignVariableOp(resource=self.handle, value=value)

    def eval(self, session: Any = None) -> np.ndarray:
        """Returns the value that a session, or else the default one, sees."""
        return (session or tf.compat.v1.get_default_session()).run(self)

    def _lazy_read(self, op: tf.Operation) -> Any:
        # What every assignment ends with.
        result = super()._lazy_read(op)
        step_graph.note_assignment(op, result)
        return result

    def initialized_value(self) -> tf.Tensor:
        """Returns `initial_value`; in TensorFlow 1 the way to initialise one variable from another."""
        return self._initial_value


class VariableStore:
    """The variables of one model, by name.

    Checkpoints hold the saved ones; local ones (accumulators of metrics) start afresh at each evaluation.
    """

    def __init__(self):
        self._variables: dict[str, tf.Variable] = {}
        self._local_names: set[str] = set()
        self._initial_local_values: dict[str, np.ndarray] = {}
        self.global_step = StoredVariable(trainable=False, name=GLOBAL_STEP_NAME, shape=[], dtype=tf.int64)
        self.global_step.assign(0)
        self._variables[GLOBAL_STEP_NAME] = self.global_step

    def __getitem__(self, name: str) -> tf.Variable:
        return self._variables[name]

    def __contains__(self, name: str) -> bool:
        return name in self._variables

    def values(self) -> Iterable[tf.Variable]:
        """Returns all variables, in the order of creation."""
        return self._variables.values()

    @property
    def saved(self) -> dict[str, tf.Variable]:
        """The variables that belong in a checkpoint, by name, in the order of creation."""
        return {name: variable for name, variable in self._variables.items() if name not in self._local_names}

    @property
    def local(self) -> dict[str, tf.Variable]:
        """The other variables, by name, in the order of creation."""
        return {name: variable for name, variable in self._variables.items() if name in self._local_names}

    @property
    def trainable(self) -> dict[str, tf.Variable]:
        """The saved variables that training changes by gradients."""
        return {name: variable for name, variable in self.saved.items() if variable.trainable}

    def mark_local(self, variables: Sequence[tf.Variable]) -> None:
        """Declares variables to be local: not saved, reset by `reset_local`."""
        wanted = {id(variable) for variable in variables}
        for name, variable in self._variables.items():
            if id(variable) in wanted and name not in self._local_names:
                self._local_names.add(name)
                self._initial_local_values[name] = variable.numpy()

    def reset_local(self) -> None:
        """Gives every local variable its initial value again."""
        for name, value in self._initial_local_values.items():
            self._variables[name].assign(value)

    def adopt(self, variables: Sequence[tf.Variable]) -> None:
        """Takes in variables that were made outside any trace, such as those of a model built beforehand.

        Raises:
          ValueError: another variable already has that name.
        """
        known = {id(variable) for variable in self._variables.values()}
        for variable in variables:
            if id(variable) in known:
                continue
            name = variable.name.partition(":")[0]
            if name in self._variables:
                raise ValueError(
                    f"two variables are named {name!r}: one made inside the model_fn, one outside; name them apart"
                )
            self._variables[name] = variable

    def add(self, name: str, variable: tf.Variable, *, is_local: bool) -> None:
        """Takes in a new variable."""
        self._variables[name] = variable
        if is_local:
            self._local_names.add(name)

    @contextlib.contextmanager
    def forgetting_on_failure(self) -> Iterator[None]:
        """If the `with` block raises, the variables that it has created are forgotten: they have no values yet."""
        before = set(self._variables)
        try:
            yield
        except BaseException:
            for name in self._variables.keys() - before:
                del self._variables[name]
                self._local_names.discard(name)
            raise

    def record_initial_local_values(self) -> None:
        """Remembers the values of new local variables as those to reset them to."""
        for name in self._local_names - self._initial_local_values.keys():
            self._initial_local_values[name] = self._variables[name].numpy()


def step_before(graph: tf.Graph) -> tf.Tensor:
    """Returns the global step as it was before the step that `graph` traces, int64 scalar."""
    return graph.get_collection(_GLOBAL_STEP_READ_COLLECTION)[0]


def run_before(graph: tf.Graph) -> tf.Tensor:
    """Returns by what the random numbers of a run differ from those of others, int64 scalar.

    That is the number of runs before where `count_runs` counts them, else the global step.
    """
    counted = graph.get_collection(_RUNS_READ_COLLECTION)
    return counted[0] if counted else step_before(graph)


def count_runs(graph: tf.Graph) -> tf.Variable:
    """Lets `graph`, the default graph, count its runs in a local variable, which the caller increments; returns it."""
    runs = tf.compat.v1.get_variable(
        _RUNS_NAME, [], tf.int64, tf.compat.v1.zeros_initializer(), trainable=False, collections=[_LOCAL]
    )
    graph.add_to_collection(_RUNS_READ_COLLECTION, runs.read_value() + 0)
    return runs


class VariableTrace:
    """The creation of variables during the trace of one graph: each is one of the store, new or found by name."""

    def __init__(self, store: VariableStore, graph: tf.Graph):
        self._store = store
        self._graph = graph
        self._num_uses: collections.Counter[str] = collections.Counter()
        self._created: list[StoredVariable] = []
        with graph.as_default():
            self._list_global_step()

    @contextlib.contextmanager
    def creating(self) -> Iterator[None]:
        """Makes every variable that is created inside the `with` block one of the store."""
        with tf.variable_creator_scope(self.create):
            yield

    def take_created(self) -> list[StoredVariable]:
        """Returns the new variables to be initialised, once; their `initial_value` is a tensor of the graph."""
        created, self._created = self._created, []
        return created

    def create(self, next_creator: Callable[..., tf.Variable], **kwargs: Any) -> tf.Variable:
        """A variable creator: returns the store's variable of that name, made now if there is none.

        Raises:
          ValueError: the store's variable has another shape.
        """
        del next_creator
        name, value = self._evaluate_eagerly(kwargs) if tf.executing_eagerly() else self._evaluate_in_graph(kwargs)
        shape = value.shape if kwargs.get("shape") is None else tf.TensorShape(kwargs["shape"])
        variable = self._store[name] if name in self._store else self._make(name, value, shape, kwargs)
        if not variable.shape.is_compatible_with(shape):
            raise ValueError(
                f"variable {name!r} was created with shape {variable.shape} and is now asked for with shape {shape}; "
                f"a model has one shape for each name: rename one of them"
            )
        if tf.is_symbolic_tensor(value):
            variable._initial_value = value
        self._list_in_collections(variable, kwargs)
        return variable

    def _make(self, name: str, value: tf.Tensor, shape: tf.TensorShape, kwargs: dict[str, Any]) -> StoredVariable:
        with tf.init_scope(), tf.compat.v1.name_scope(None):
            variable = StoredVariable(
                trainable=_is_trainable(kwargs),
                name=name,
                shape=shape,
                dtype=value.dtype,
                constraint=kwargs.get("constraint"),
                synchronization=kwargs.get("synchronization"),
                aggregation=kwargs.get("aggregation"),
            )
        if tf.is_symbolic_tensor(value):
            self._created.append(variable)
        else:
            variable.assign(value)
        is_local = not _LOCAL_COLLECTIONS.isdisjoint(kwargs.get("collections") or ())
        self._store.add(name, variable, is_local=is_local)
        return variable

    def _evaluate_in_graph(self, kwargs: dict[str, Any]) -> tuple[str, tf.Tensor]:
        """Returns the full name, unique in the graph as TensorFlow 1 made it, and the initial value.

        The initializer runs at each trace, wanted or not: it advances the graph's counter of seeds, on which the
        random numbers of all later operations depend. It runs in the outermost graph, even when a loop's body asks.
        """
        name = _absolute_name(kwargs)
        with (
            self._graph.as_default(),
            tf.control_dependencies(None),
            tf.compat.v1.name_scope(None),
            tf.compat.v1.name_scope(name) as scope,
            tf.name_scope("Initializer"),
        ):
            return scope.rstrip("/"), _initial_value(kwargs)

    def _evaluate_eagerly(self, kwargs: dict[str, Any]) -> tuple[str, tf.Tensor]:
        """As `_evaluate_in_graph`, for layers that lift the creation of variables out of the trace (Keras)."""
        name = _absolute_name(kwargs).rstrip("/")
        self._num_uses[name] += 1
        unique_name = name if self._num_uses[name] == 1 else f"{name}_{self._num_uses[name] - 1}"
        return unique_name, _initial_value(kwargs)

    def _list_global_step(self) -> None:
        step = self._store.global_step
        self._graph.add_to_collection(tf.compat.v1.GraphKeys.GLOBAL_STEP, step)
        self._graph.add_to_collection(tf.compat.v1.GraphKeys.GLOBAL_VARIABLES, step)
        # Hooks want the step as it was before this step: it is read here, before anything increments it.
        self._graph.add_to_collection(_GLOBAL_STEP_READ_COLLECTION, step.read_value() + 0)

    def _list_in_collections(self, variable: tf.Variable, kwargs: dict[str, Any]) -> None:
        keys = list(kwargs.get("collections") or [tf.compat.v1.GraphKeys.GLOBAL_VARIABLES])
        if variable.trainable and tf.compat.v1.GraphKeys.GLOBAL_VARIABLES in keys:
            keys.append(tf.compat.v1.GraphKeys.TRAINABLE_VARIABLES)
        for key in dict.fromkeys(keys):
            listed = self._graph.get_collection_ref(key)
            if not any(variable is other for other in listed):
                listed.append(variable)


def _is_trainable(kwargs: dict[str, Any]) -> bool:
    trainable = kwargs.get("trainable")
    if trainable is None:
        return kwargs.get("synchronization") != tf.VariableSynchronization.ON_READ
    return trainable


def _absolute_name(kwargs: dict[str, Any]) -> str:
    return "/".join(part for part in (tf.get_current_name_scope(), kwargs.get("name") or "Variable") if part)


def _initial_value(kwargs: dict[str, Any]) -> tf.Tensor:
    value = kwargs["initial_value"]
    value = value() if callable(value) else value
    # Slots are created outside the trace from values inside it: those cannot be converted there, and need not be.
    is_traced = tf.is_tensor(value) and tf.is_symbolic_tensor(value)
    return value if is_traced else tf.convert_to_tensor(value, dtype=kwargs.get("dtype"))
