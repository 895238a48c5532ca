"""Which operations of a traced step run, and in what order those that touch the same variable do.

TensorFlow 1 runs what was asked for and its inputs; a `tf.function` runs every assignment in the order of the text.
A model_fn may be written for either: a program for TensorFlow 1 makes assignments that must *not* run unless asked for
(the optimizer of a model_fn that ignores its mode, the moving averages in UPDATE_OPS), and a Keras layer makes
assignments that must, although nobody holds them. Reads and writes of one variable keep the order of the text in both.
"""

import enum
import re
from collections.abc import Iterable, Sequence

import tensorflow as tf
from tensorflow.python.framework import auto_control_deps, auto_control_deps_utils

from trainer.engine.step_graph import StepGraph

_CHANGES_VARIABLE = re.compile(r"Assign\w*VariableOp|Resource(\w*Apply|Scatter|StridedSliceAssign)\w*")
# Stateful by declaration. The last is what a Saver makes of each variable when it is built.
_WITHOUT_EFFECT = frozenset({"Placeholder", "PlaceholderWithDefault", "DisableCopyOnRead"})
# The resource of operations that have a side effect but no resource: prints keep their order.
_OUTSIDE_WORLD = "outside world"


class Effects(enum.Enum):
    """Which side effects run beside those that were asked for.

    ALL: every one, as in a tf.function (host calls, metrics on the host).
    LOOSE: every one but assignments that somebody holds, and what only a deferred operation needs: the members of
      UPDATE_OPS and TRAIN_OP. TensorFlow 1 runs these on demand only (training).
    REQUESTED: none (evaluation and prediction change no model).
    """

    ALL = "all"
    LOOSE = "loose"
    REQUESTED = "requested"


def required_operations(
    graph: tf.Graph, requested: Iterable[tf.Operation], effects: Effects, boundary: Iterable[tf.Operation] = ()
) -> set[tf.Operation]:
    """Returns the operations that must run for `requested` and the wanted side effects.

    Args:
      graph: the traced graph.
      requested: operations that run in any case.
      effects: which side effects run beside.
      boundary: operations whose inputs are not followed, because their outputs are fed.
    """
    required = _ancestors(requested, set(boundary))
    if effects is Effects.REQUESTED:
        return required
    made_by_step = graph.traced_operations() if isinstance(graph, StepGraph) else graph.get_operations()
    loose = {operation for operation in made_by_step if has_effect(operation)}
    if effects is Effects.LOOSE:
        loose = {operation for operation in loose - required if not _is_held(graph, operation)}
        loose -= _ancestors(_deferred(graph), required)
    return _ancestors(loose, set(boundary)) | required


def writes_to(graph: tf.Graph, variables: Sequence[tf.Variable]) -> list[tf.Operation]:
    """Returns the operations of `graph` that may change one of `variables`."""
    handles = {id(graph.capture(variable.handle)) for variable in variables}
    return [
        operation
        for operation in graph.get_operations()
        if any(id(resource) in handles for resource in _resource_accesses(operation)[1])
    ]


def has_effect(operation: tf.Operation) -> bool:
    """Returns whether running `operation` does more than compute its outputs."""
    return auto_control_deps.op_is_stateful(operation) and operation.type not in (
        auto_control_deps_utils.RESOURCE_READ_OPS | _WITHOUT_EFFECT
    )


class EffectOrder:
    """Finds, operation by operation in the order of the text, what each must wait for."""

    def __init__(self):
        self._last_write: dict[object, tf.Operation] = {}
        self._reads_since: dict[object, list[tf.Operation]] = {}

    def predecessors(self, operation: tf.Operation) -> list[tf.Operation]:
        """Returns the earlier operations that must have run before `operation`, and takes note of it."""
        reads, writes = _resource_accesses(operation)
        found = []
        for resource in map(_key, reads):
            found += self._writes_before(resource)
            self._reads_since.setdefault(resource, []).append(operation)
        for resource in map(_key, writes):
            found += self._writes_before(resource) + self._reads_since.pop(resource, [])
            self._last_write[resource] = operation
        return [other for other in dict.fromkeys(found) if other is not operation]

    def _writes_before(self, resource: object) -> list[tf.Operation]:
        return [self._last_write[resource]] if resource in self._last_write else []


def _key(resource: object) -> object:
    return resource if isinstance(resource, str) else id(resource)


def _resource_accesses(operation: tf.Operation) -> tuple[list[object], list[object]]:
    reads, writes = auto_control_deps_utils.get_read_write_resource_inputs(operation)
    if not reads and not writes and has_effect(operation):
        return [], [_OUTSIDE_WORLD]
    return list(reads - writes), list(writes)


def _is_held(graph: tf.Graph, operation: tf.Operation) -> bool:
    """Returns whether an operation changes a variable for somebody who runs it on demand."""
    if not _CHANGES_VARIABLE.fullmatch(operation.type):
        return False
    return isinstance(graph, StepGraph) and not graph.is_left_to_graph(operation)


def _deferred(graph: tf.Graph) -> list[tf.Operation]:
    keys = (tf.compat.v1.GraphKeys.UPDATE_OPS, tf.compat.v1.GraphKeys.TRAIN_OP)
    members = [member for key in keys for member in graph.get_collection(key)]
    return [operation for member in members if (operation := _operation_of(member)).graph is graph]


def _operation_of(member: tf.Tensor | tf.Operation) -> tf.Operation:
    return member if isinstance(member, tf.Operation) else member.op


def _ancestors(operations: Iterable[tf.Operation], boundary: set[tf.Operation]) -> set[tf.Operation]:
    """Returns `operations` and everything they need, not looking behind `boundary`."""
    found: set[tf.Operation] = set()
    stack = list(operations)
    while stack:
        operation = stack.pop()
        if operation in found:
            continue
        found.add(operation)
        if operation not in boundary:
            stack += [tensor.op for tensor in operation.inputs]
            stack += operation.control_inputs
    return found
