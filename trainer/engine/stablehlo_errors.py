"""Says why a step cannot run under XLA: which operation, which line of the model made it, and the usual remedy."""

import linecache
import pathlib
import re
import traceback
import types
from collections.abc import Iterable, Iterator, Mapping

import tensorflow as tf

from trainer.engine import stablehlo, step_program
from trainer.errors import UserError, one_line

_NO_LOWERING = re.compile(
    r"No registered '(?P<type>\w+)' OpKernel for \S+ devices compatible with node "
    r"(?:\{\{function_node [^}]+\}\})?\{\{node (?P<name>[^}]+)\}\}"
)
_NOT_CONSTANT = re.compile(r"Input \d+ to node `(?P<name>[^`]+)` with op (?P<type>\w+) must be a compile-time constant")
# Whatever else the bridge complains of: its first line says what, a later one where.
_OTHER = re.compile(r"(?:Failed getting HLO text: ')?(?P<what>[^\n]+).*?\{\{node (?P<name>[^}]+)\}\}", re.DOTALL)
_SHAPE_COMPLAINT = re.compile("dynamic tensor|shapes of loop body do not match")
_UNBOUNDED_LIST = "requires a fixed tensor list size"
_MAX_MESSAGE_CHARACTERS = 400

_PYTHON_REMEDY = "Python code cannot run on the device: move it to input_fn, host_call or eval_metrics"
_STRING_REMEDY = "strings stay on the host: move it to input_fn, host_call or eval_metrics"
_SUMMARY_REMEDY = "return the tensor in `scalars` or `host_call` of the TPUEstimatorSpec"
_PRINT_REMEDY = "tf.print does not run on the device: return the tensor from host_call and print it there"
_HOST_REMEDY = "read or look the values up in input_fn, and in serving_input_receiver_fn for an export"
_STATIC_REMEDY = "give every shape as a Python number; keep all elements and weigh unwanted ones with 0 (tf.where)"
_LOOP_REMEDY = "give tf.while_loop its maximum_iterations, and a TensorArray its size, as Python numbers"
_GROWTH_REMEDY = "leave dynamic_size out, and give it its size as a Python number"
_BRANCH_REMEDY = "put the branch inside the loop, or compute both branches and choose by tf.where"
_SEGMENT_REMEDY = "use tf.math.unsorted_segment_sum, _mean, _max..., with num_segments as a Python number"
_COUNT_REMEDY = "count by tf.reduce_sum(tf.one_hot(values, n), axis=0), with n as a Python number"
_REPLICAS_REMEDY = "use tf.compat.v1.tpu.cross_replica_sum; what is to go to some replicas alone is 0 elsewhere"
_OTHER_REMEDY = "use another operation, or move it to input_fn"
_REMEDIES: Mapping[str, str] = types.MappingProxyType(
    {
        "PyFunc": _PYTHON_REMEDY,
        "PyFuncStateless": _PYTHON_REMEDY,
        "EagerPyFunc": _PYTHON_REMEDY,
        "ScalarSummary": _SUMMARY_REMEDY,
        "ImageSummary": _SUMMARY_REMEDY,
        "HistogramSummary": _SUMMARY_REMEDY,
        "WriteScalarSummary": _SUMMARY_REMEDY,
        "StringFormat": _PRINT_REMEDY,
        "PrintV2": _PRINT_REMEDY,
        "Print": _PRINT_REMEDY,
        "MutableHashTableV2": _HOST_REMEDY,
        "MutableDenseHashTableV2": _HOST_REMEDY,
        "DecodeJpeg": "decode images in input_fn",
        "TensorListResize": _LOOP_REMEDY,
        "SegmentSum": _SEGMENT_REMEDY,
        "SegmentMean": _SEGMENT_REMEDY,
        "SegmentMax": _SEGMENT_REMEDY,
        "SegmentMin": _SEGMENT_REMEDY,
        "SegmentProd": _SEGMENT_REMEDY,
        "DenseBincount": _COUNT_REMEDY,
        "AllToAll": _REPLICAS_REMEDY,
        "CollectivePermute": _REPLICAS_REMEDY,
        "CollectiveReduce": _REPLICAS_REMEDY,
        "CrossReplicaSum": _REPLICAS_REMEDY,
    }
)
# Frames of these belong to whoever called the model, or to what the model called.
_ENGINE = pathlib.PurePath(__file__).parent
_FOREIGN_PATHS = ("/site-packages/", "/dist-packages/", "/lib/python3", f"{_ENGINE}/", f"{_ENGINE.parent}/estimator/")


class LoweringError(UserError):
    """The step cannot run under XLA."""


def check(program: step_program.StepProgram) -> None:
    """Refuses what TensorFlow's bridge lowers to something else, or ends the whole process for.

    It takes a list that grows when it is written to as one of its first size: what lies behind is lost.

    Raises:
      LoweringError: the step writes to such a list.
    """
    for operation in _with_called(program.concrete_function.graph):
        if operation.type == "TensorListSetItem" and operation.get_attr("resize_if_index_out_of_bounds"):
            what = f"a TensorArray with dynamic_size=True ({operation.name}) does not grow on the device"
            raise _at_operation(what, operation.name, program.trace.graph, _GROWTH_REMEDY)


def _with_called(graph: tf.Graph) -> Iterator[tf.Operation]:
    """Yields the operations of a graph and of the functions that these call."""
    for operation in graph.get_operations():
        yield operation
        attributes = () if operation.type == "Const" else operation.node_def.attr.values()  # constants may be large
        for called in (one for attribute in attributes for one in (attribute.func, *attribute.list.func)):
            if hasattr(function := graph._functions.get(called.name), "graph"):
                yield from _with_called(function.graph)


def explain(error: Exception, program: step_program.StepProgram) -> LoweringError:
    """Returns the error to show for what TensorFlow's bridge to XLA, or `stablehlo.prepare`, raised.

    Args:
      error: what was raised.
      program: the step; the operations of its trace know which line made them.
    """
    message, trace, graph = str(error), program.trace, program.trace.graph
    if isinstance(error, stablehlo.DynamicShapeError):
        is_known = any(True for _ in _origins(error.op_name, graph))
        name = error.op_name if is_known else _first_of_unknown_shape(program) or error.op_name
        return _at_operation(f"its shape depends on the data ({name})", name, graph, _STATIC_REMEDY)
    if match := _NO_LOWERING.search(message):
        return _without_lowering(match["type"], match["name"], trace)
    if match := _NOT_CONSTANT.search(message):
        what = f"a shape or axis of {match['type']} ({match['name']}) depends on the data"
        return _at_operation(what, match["name"], graph, _REMEDIES.get(match["type"], _STATIC_REMEDY))
    if "is_initialized" in message and (name := _user_of_host_resource(program)):
        what = f"lookup tables, queues and iterators ({name}) are not on the device"
        return _at_operation(what, name, graph, _HOST_REMEDY)
    if match := _OTHER.search(message):
        return _other(match["what"], match["name"], graph)
    return LoweringError(f"the step cannot be lowered for XLA: {one_line(message[:_MAX_MESSAGE_CHARACTERS])}")


def _first_of_unknown_shape(program: step_program.StepProgram) -> str:
    """Returns the name of the first operation whose result TensorFlow knows no shape of, such as a branch's."""
    for operation in program.concrete_function.graph.get_operations():
        if not all(tensor.shape.is_fully_defined() for tensor in operation.outputs):
            return operation.name
    return ""


def _user_of_host_resource(program: step_program.StepProgram) -> str:
    """Returns the name of the first operation that uses something of the host which is no variable; empty for none."""
    graph, handles = program.concrete_function.graph, {id(variable.handle) for variable in program.variables}
    for captured, internal in graph.captures:
        if captured.dtype == tf.resource and id(captured) not in handles and internal.consumers():
            return internal.consumers()[0].name
    return ""


def _without_lowering(op_type: str, name: str, trace: step_program.StepTrace) -> LoweringError:
    texts = _text_results(trace.result) if op_type == "_Retval" else []
    if texts:
        what = f"a result of the step is text ({texts[0].name})"
        return LoweringError(what, where=source_line(texts[0].op), remedy=_STRING_REMEDY)
    if op_type == "FakeParam":  # what stands in one branch for the other's loop, for the gradient
        branch = name.rpartition("/")[0]
        return _at_operation(f"a loop inside a branch ({branch}) has no gradient", branch, trace.graph, _BRANCH_REMEDY)
    what = f"the operation {op_type} ({name}) does not run on TPUs, nor under XLA elsewhere"
    if _REMEDIES.get(op_type) == _REPLICAS_REMEDY:
        what = f"the operation {op_type} ({name}) is not supported: replicas speak by sums alone"
    return _at_operation(what, name, trace.graph, _remedy(op_type, name, trace.graph))


def _other(complaint: str, name: str, graph: tf.Graph) -> LoweringError:
    if _UNBOUNDED_LIST in complaint:
        what = f"a list that grows in a loop, or is kept for a loop's gradient, has no known size ({name})"
        return _at_operation(what, name, graph, _LOOP_REMEDY)
    remedy = _STATIC_REMEDY if _SHAPE_COMPLAINT.search(complaint) else _OTHER_REMEDY
    what = f"{name} cannot be lowered for XLA: {complaint[:_MAX_MESSAGE_CHARACTERS].rstrip('.')}"
    return _at_operation(what, name, graph, remedy)


def _text_results(result: step_program.StepResult) -> list[tf.Tensor]:
    results = tf.nest.flatten((result.per_replica, result.replicated), expand_composites=True)
    return [one for one in results if tf.is_tensor(one) and one.dtype == tf.string]


def source_line(operation: tf.Operation) -> str:
    """Returns `file:line (code)` of the line of the model that made `operation`; empty when there is none.

    An operation of a gradient is told by the line of the operation whose gradient it is part of.
    """
    while operation._original_op is not None:
        operation = operation._original_op
    # What comes from a saved graph has no traceback.
    frames = [frame for frame in operation.traceback or () if _is_of_the_model(frame)]
    if not frames:
        return ""
    frame = frames[-1]
    code = linecache.getline(frame.filename, frame.lineno or 0).strip()
    return f"{frame.filename}:{frame.lineno}" + (f" ({code})" if code else "")


def _is_of_the_model(frame: traceback.FrameSummary) -> bool:
    path = pathlib.PurePath(frame.filename).as_posix()
    return path.endswith(".py") and not any(part in path for part in _FOREIGN_PATHS)


def _at_operation(what: str, name: str, graph: tf.Graph, remedy: str) -> LoweringError:
    lines = map(source_line, _origins(name, graph))
    return LoweringError(what, where=next(filter(None, lines), ""), remedy=remedy)


def _remedy(op_type: str, name: str, graph: tf.Graph) -> str:
    operation = next(_origins(name, graph), None)
    if op_type not in _REMEDIES and operation and _touches_strings(operation):
        return _STRING_REMEDY
    return _REMEDIES.get(op_type, _OTHER_REMEDY)


def _touches_strings(operation: tf.Operation) -> bool:
    tensors: Iterable[tf.Tensor] = (*operation.inputs, *operation.outputs)
    return any(tensor.dtype == tf.string for tensor in tensors)


def _origins(name: str, graph: tf.Graph) -> Iterator[tf.Operation]:
    """Yields the operation of the graph, or of a function that it calls, that `name` comes from; then those around it.

    Inlining a function puts the name of its call before those of its operations; what takes the place of a random
    operation has that one's name before its own.
    """
    operations = {operation.name: operation for part in _with_functions(graph) for operation in part.get_operations()}
    parts = name.split("/")
    inlined = ["/".join(parts[start:]) for start in range(len(parts))]
    replaced = ["/".join(parts[:end]) for end in range(len(parts) - 1, 0, -1)]
    yield from (operations[candidate] for candidate in inlined + replaced if candidate in operations)


def _with_functions(graph: tf.Graph) -> list[tf.Graph]:
    """Returns the functions that a graph calls, innermost first, and the graph itself, whose names win, last."""
    called = [function.graph for function in graph._functions.values() if hasattr(function, "graph")]
    return [inner for part in called for inner in _with_functions(part)] + [graph]
