"""Writes cut-out graphs as one SavedModel in the form of TensorFlow 1: operations keep the names that they were given.

What comes after an export in programs for TensorFlow 1 asks for tensors by name (`input_arrays` of TFLite's converter,
`session.run("softmax_tensor:0")`). TensorFlow 2 loads this form too; its own hides the names inside functions.
"""

import dataclasses
import functools
import re
import uuid
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import tensorflow as tf
from tensorflow.python.eager import context

v1 = tf.compat.v1

_NOT_IN_NAMES = re.compile(r"[^A-Za-z0-9_.\\/-]")
_FILLERS_OF_TABLES = {"InitializeTableV2", "InitializeTableFromTextFileV2", "LookupTableImportV2"}
_NOT_PORTABLE = (
    "a {} cannot be exported: it is neither a variable, nor a constant, nor a lookup table of single values that is "
    "used outside loops and branches"
)


@dataclasses.dataclass(frozen=True)
class Signature:
    """One way to call a graph.

    Fields:
      method: by which TensorFlow's server calls it.
      inputs, outputs: by name, tensors of the graph.
      targets: operations that run beside.
    """

    method: str
    inputs: Mapping[str, Any]
    outputs: Mapping[str, Any]
    targets: Sequence[tf.Operation] = ()


@dataclasses.dataclass(frozen=True)
class CutGraph:
    """A graph to write.

    Fields:
      function: the concrete function that was cut out of a trace: it holds every operation that a signature needs, by
        the name that it has in the trace.
      feeds: the tensors of the trace that are its arguments.
      signatures: by name; they refer to tensors of the trace.
      initializers: operations of the trace that run when the SavedModel is loaded: they fill lookup tables.
      assets: paths of files that become part of the SavedModel: constants of the trace, or captured by the function.
    """

    function: Any
    feeds: Sequence[tf.Tensor]
    signatures: Mapping[str, Signature]
    initializers: Sequence[tf.Operation] = ()
    assets: Sequence[tf.Tensor] = ()


def write(
    directory: str, graphs: Mapping[str, CutGraph], variables: Sequence[tf.Variable], *, as_text: bool = False
) -> None:
    """Writes a SavedModel: a graph for each tag, which share the values of variables.

    Operations keep their names where no variable has taken them; else they are put under the tag.

    Args:
      directory: where to; it must not exist.
      graphs: by tag, such as `serve`.
      variables: what the functions may have captured; the values that they have now are written.
      as_text: whether graphs are written as text, to be read.

    Raises:
      ValueError: a function captured a resource that is neither a variable nor a lookup table.
    """
    values = [variable.numpy() for variable in variables]
    # All are made before anything is written: one of them may be refused.
    prepared = [_prepared(tag, cut, variables, values) for tag, cut in graphs.items()]
    builder = v1.saved_model.Builder(directory)
    for position, one in enumerate(prepared):
        with one.graph.as_default(), v1.Session(config=v1.ConfigProto(device_count={"GPU": 0})) as session:
            if position:
                builder.add_meta_graph([one.tag], one.signatures, **one.rest)
            else:
                _assign(session, one.variables, values)
                builder.add_meta_graph_and_variables(session, [one.tag], one.signatures, **one.rest)
    builder.save(as_text=as_text)


@dataclasses.dataclass(frozen=True)
class _Prepared:
    """A graph as the builder of SavedModels takes it; `rest` are the builder's other arguments."""

    tag: str
    graph: tf.Graph
    variables: Sequence[tf.Variable]
    signatures: Mapping[str, Any]
    rest: Mapping[str, Any]


def _prepared(tag: str, cut: CutGraph, variables: Sequence[tf.Variable], values: Sequence[Any]) -> _Prepared:
    with tf.Graph().as_default() as graph:
        copies = [_copy_of(variable, value.shape) for variable, value in zip(variables, values, strict=True)]
        by_handle = {id(variable.handle): copy for variable, copy in zip(variables, copies, strict=True)}
        imported = _Imported(cut, by_handle, tag)
        signatures = {name: imported.definition(one) for name, one in cut.signatures.items()}
        main = tf.group(*imported.initializers)
    rest = {"assets_collection": imported.assets, "main_op": main, "strip_default_attrs": True}
    return _Prepared(tag, graph, copies, signatures, rest)


def _assign(session: tf.compat.v1.Session, variables: Sequence[tf.Variable], values: Sequence[Any]) -> None:
    # One run for all: a session takes its time for each new fetch.
    initializers = [variable.initializer for variable in variables]
    session.run(initializers, {one.inputs[1]: value for one, value in zip(initializers, values, strict=True)})


def _copy_of(variable: tf.Variable, shape: Sequence[int]) -> tf.Variable:
    """Returns a variable of the default graph; `shape` is that of the value, known in every dimension."""
    # Variables that are made outside graphs may have names that operations may not.
    name = _NOT_IN_NAMES.sub("_", variable.name.partition(":")[0]).lstrip("_/\\-") or "variable"
    zeros = functools.partial(tf.zeros, shape, variable.dtype)
    copy = v1.Variable(zeros, variable.trainable, name=name, use_resource=True, shape=variable.shape)
    # Parts of a variable are saved as one value.
    copy._set_save_slice_info(getattr(variable, "_save_slice_info", None))
    return copy


class _Imported:
    """A cut graph inside the default graph."""

    def __init__(self, cut: CutGraph, copies: Mapping[int, tf.Variable], name: str):
        self._graph = v1.get_default_graph()
        source = cut.function.graph
        arguments = source.inputs[: len(cut.feeds)]
        self._fed = {feed.name: argument.name for feed, argument in zip(cut.feeds, arguments, strict=True)}
        captures = {internal.op.name: external for external, internal in source.captures}
        definition = _portable_definition(source, captures, {f"^{one.name}" for one in cut.initializers})
        taken = {operation.name for operation in self._graph.get_operations()}
        names_are_free = taken.isdisjoint(node.name for node in definition.node)
        self._prefix = "" if names_are_free else f"{self._graph.unique_name(name, mark_as_used=False)}/"
        fillers: list[tf.Operation] = []
        captured = {
            id(external): copies[id(external)].handle
            if id(external) in copies
            else _captured(external, internal, fillers)
            for external, internal in source.captures
        }
        tf.graph_util.import_graph_def(
            definition,
            {internal: captured[id(external)] for internal, external in captures.items()},
            name=self._prefix.rstrip("/"),
        )
        self.initializers = fillers + [
            self._graph.get_operation_by_name(self._prefix + one.name) for one in cut.initializers
        ]
        self.assets = [captured[id(asset)] if id(asset) in captured else self._here(asset) for asset in cut.assets]

    def definition(self, signature: Signature) -> Any:
        """Returns the signature for this graph."""
        inputs = {name: self._here(tensor) for name, tensor in signature.inputs.items()}
        is_fed = {id(tensor) for tensor in tf.nest.flatten(inputs, expand_composites=True)}
        targets = [self._graph.get_operation_by_name(self._prefix + target.name) for target in signature.targets]

        def output(tensor: tf.Tensor) -> tf.Tensor:
            # What is an input too, or waits for targets, needs a tensor of its own.
            if not targets and id(tensor) not in is_fed:
                return tensor
            with self._graph.control_dependencies(targets):
                return tf.identity(tensor)

        outputs = {
            name: tf.nest.map_structure(output, self._here(tensor), expand_composites=True)
            for name, tensor in signature.outputs.items()
        }
        infos = [{name: v1.saved_model.build_tensor_info(one) for name, one in x.items()} for x in (inputs, outputs)]
        return v1.saved_model.build_signature_def(*infos, signature.method)

    def _here(self, tensors: Any) -> Any:
        def here(tensor: tf.Tensor) -> tf.Tensor:
            return self._graph.get_tensor_by_name(self._prefix + self._fed.get(tensor.name, tensor.name))

        return tf.nest.map_structure(here, tensors, expand_composites=True)


def _portable_definition(graph: tf.Graph, captures: Collection[str], not_awaited: Collection[str]) -> Any:
    """Returns the definition of a graph for elsewhere.

    It is without the placeholders of its captures, without devices and without the control inputs `not_awaited`.
    """
    definition = graph.as_graph_def()
    kept = [node for node in definition.node if node.name not in captures]
    del definition.node[:]
    definition.node.extend(kept)
    for node in definition.node:
        inputs = [name for name in node.input if name not in not_awaited]
        del node.input[:]
        node.input.extend(inputs)
    for node in (*definition.node, *(node for one in definition.library.function for node in one.node_def)):
        node.device = ""
    return definition


def _captured(external: tf.Tensor, internal: tf.Tensor, fillers: list[tf.Operation]) -> tf.Tensor:
    """Returns what stands in the default graph for a captured tensor that is no variable.

    A lookup table that was filled before is filled with the same by an operation that is added to `fillers`.
    """
    if external.dtype not in (tf.resource, tf.variant):
        return tf.constant(external.numpy())
    consumers = {consumer.type: consumer for consumer in internal.consumers()}
    lookup = consumers.get("LookupTableFindV2")
    if lookup is None:
        raise ValueError(_NOT_PORTABLE.format(external.dtype.name))
    types = lookup.get_attr("Tin"), lookup.get_attr("Tout")
    # Tables are shared by name in a whole process: two SavedModels must not meet.
    table = tf.raw_ops.HashTableV2(key_dtype=types[0], value_dtype=types[1], shared_name=f"table_{uuid.uuid4()}")
    if _FILLERS_OF_TABLES.isdisjoint(consumers):
        fillers.append(tf.raw_ops.InitializeTableV2(table_handle=table, **_content(external, *types)))
    return table


def _content(table: tf.Tensor, key_type: tf.DType, value_type: tf.DType) -> dict[str, tf.Tensor]:
    """Returns the keys and the values of a table outside the graph, as constants of the default graph."""
    with context.eager_mode():
        found = tf.raw_ops.LookupTableExportV2(table_handle=table, Tkeys=key_type, Tvalues=value_type)
        keys, values = (tensor.numpy() for tensor in found)
    if keys.ndim != 1 or values.ndim != 1:  # rows of values, or a DenseHashTable
        raise ValueError(_NOT_PORTABLE.format(table.dtype.name))
    if not keys.size:
        raise ValueError("a lookup table that holds nothing cannot be exported: TensorFlow fills none with nothing")
    return {"keys": tf.constant(keys, key_type), "values": tf.constant(values, value_type)}
