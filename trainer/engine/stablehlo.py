"""From a traced `tf.function` to a StableHLO program that JAX's runtime runs or compiles ahead of time.

TensorFlow's bridge to XLA gives a module whose inputs are the function's arguments, then the variables that it
captured, and whose results are the returned tensors, then the new values of the variables that it assigned. `prepare`
makes of it a module that JAX accepts, and `as_jax_function` a function that `jax.jit`, `jax.shard_map` and
`lower().compile()` take. No TensorFlow is needed for either: a program can be carried to a machine without it.
"""

import dataclasses
import hashlib
import itertools
import re
import types
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import jax
import numpy as np
from jax.extend import mlir as jax_extend_mlir
from jax.interpreters import mlir as jax_mlir
from jaxlib.mlir import ir

# StableHLO promises to read artifacts of every earlier version; this one is of the pinned jaxlib's age.
_PORTABLE_VERSION = "1.13.0"
_CALLING_CONVENTION_VERSION = 10
# The location of the operation that a module could not be read at.
_UNREADABLE = re.compile(r'error: (?:fused\[)?"(?P<name>[^"]+)"')
# Channel type 1 is device to device (XLA's xla_data.proto); with it, replica groups are numbered by global device.
_CHANNEL = "#stablehlo.channel_handle<handle = {handle}, type = 1>"


@dataclasses.dataclass(frozen=True)
class TensorType:
    """Shape and dtype of an input or a result."""

    shape: tuple[int, ...]
    dtype: np.dtype

    @property
    def num_bytes(self) -> int:
        """Bytes of the dense array."""
        return int(np.prod(self.shape, dtype=np.int64)) * self.dtype.itemsize


class DynamicShapeError(ValueError):
    """An operation's result has a shape that depends on the data; `op_name` is its name in the traced graph."""

    def __init__(self, op_name: str):
        self.op_name = op_name
        super().__init__(f"the shape of {op_name} depends on the data")


@dataclasses.dataclass(frozen=True)
class Program:
    """A StableHLO program for one replica.

    `updated_inputs` maps the index of a result to the index of the input whose new value it is (a variable).
    """

    portable_bytes: bytes
    inputs: tuple[TensorType, ...]
    results: tuple[TensorType, ...]
    updated_inputs: Mapping[int, int]

    @property
    def digest(self) -> str:
        """sha256 of the program, hexadecimal: equal programs compile to equal code."""
        return hashlib.sha256(self.portable_bytes).hexdigest()


def lower(concrete_function: Any) -> bytes:
    """Returns the StableHLO bytecode that TensorFlow makes of a concrete function whose inputs have static shapes."""
    # The public way, `tf.function.experimental_get_compiler_ir`, puts the function into another one, whose name
    # then comes before that of every operation.
    from tensorflow.python.eager.polymorphic_function import compiler_ir  # noqa: PLC0415 (see the module's text)

    return compiler_ir.from_concrete_function(concrete_function)(stage="stablehlo_serialized")


def prepare(bytecode: bytes) -> Program:
    """Returns the program that TensorFlow lowered, in the form that JAX accepts.

    - `mhlo.copy`, which jaxlib has no lowering for, is replaced by its operand;
    - all-reduces speak of global devices (a channel, `use_global_device_ids`): under `jax.shard_map` replicas are
      partitions of one program, and without it each device would be a replica group of its own;
    - the replica id is the partition id, for the same reason;
    - comparisons of whole numbers do not speak of the order of floats;
    - names that differ from run to run (a counter in the module's name, paths of source files) are dropped, so that
      the digest tells programs apart, and nothing else. The names of operations stay.

    Raises:
      DynamicShapeError: when a shape depends on the data.
    """
    with jax_mlir.make_ir_context(), ir.Location.unknown():
        module = _parse(bytecode)
        channels = itertools.count(1)
        for operation in list(operations(module.operation)):
            _check_static(operation)
            _rewrite(operation, channels)
        module.operation.attributes["sym_name"] = ir.StringAttr.get("step")
        return _program(module, jax_extend_mlir.serialize_portable_artifact(module, _PORTABLE_VERSION))


def rewritten(program: Program, rewrite: Callable[[Any], None]) -> Program:
    """Returns the program that `rewrite` makes of a copy of its MLIR module; inputs and results stay as they are."""
    with jax_mlir.make_ir_context() as context, ir.Location.unknown():
        module = jax_extend_mlir.deserialize_portable_artifact(program.portable_bytes, context)
        rewrite(module)
        module.operation.verify()
        return _program(module, jax_extend_mlir.serialize_portable_artifact(module, _PORTABLE_VERSION))


def read(portable_bytes: bytes) -> Program:
    """Returns the program whose `portable_bytes` these are."""
    with jax_mlir.make_ir_context() as context:
        return _program(jax_extend_mlir.deserialize_portable_artifact(portable_bytes, context), portable_bytes)


def as_jax_function(program: Program, *, platform: str, name: str = "train_step") -> Callable[..., tuple[Any, ...]]:
    """Returns `program` as a function of JAX arrays: inputs in order to results in order.

    int64 inputs need `jax.enable_x64(True)` around the call and the trace.

    Args:
      platform: `cpu`, `tpu` or `cuda`, where it will run or be compiled for.
      name: shown in profiles.
    """
    in_avals = tuple(map(_abstract_value, program.inputs))
    out_avals = tuple(map(_abstract_value, program.results))
    unsharded = {"in": (None,) * len(in_avals), "out": (None,) * len(out_avals)}
    exported = jax.export.Exported(
        fun_name=name,
        in_tree=jax.tree.structure((in_avals, {})),
        in_avals=in_avals,
        out_tree=jax.tree.structure(out_avals),
        out_avals=out_avals,
        _in_named_shardings=unsharded["in"],
        _out_named_shardings=unsharded["out"],
        in_shardings_hlo=unsharded["in"],
        out_shardings_hlo=unsharded["out"],
        nr_devices=1,
        platforms=(platform,),
        ordered_effects=(),
        unordered_effects=(),
        disabled_safety_checks=(),
        mlir_module_serialized=program.portable_bytes,
        calling_convention_version=_CALLING_CONVENTION_VERSION,
        module_kept_var_idx=tuple(range(len(in_avals))),
        uses_global_constants=False,
        _get_vjp=None,
        **_fields_of_this_jax(),
    )
    return exported.call


def _fields_of_this_jax() -> dict[str, Any]:
    """Returns the fields of `Exported` that only some versions of JAX have."""
    known = {field.name for field in dataclasses.fields(jax.export.Exported)}
    return {"_has_named_shardings": True} if "_has_named_shardings" in known else {}


def operations(operation: Any) -> Iterator[Any]:
    """Yields every MLIR operation below `operation`."""
    for region in operation.regions:
        for block in region.blocks:
            for inner in block.operations:
                yield inner.operation
                yield from operations(inner.operation)


def _parse(bytecode: bytes) -> Any:
    try:
        return ir.Module.parse(bytecode)
    except ir.MLIRError as error:  # changing a size while the step runs is an operation that jaxlib does not know
        match = _UNREADABLE.search(str(error))
        if match is None or "#stablehlo.bounds" not in str(error):
            raise ValueError(f"JAX does not read what TensorFlow made of the step: {error}") from error
        raise DynamicShapeError(match["name"]) from error


def _check_static(operation: Any) -> None:
    for result in operation.results:
        if isinstance(result.type, ir.RankedTensorType) and not result.type.has_static_shape:
            raise DynamicShapeError(_op_name(operation.location))


def _op_name(location: Any) -> str:
    """Returns the name that TensorFlow's bridge gave an operation's location, which is that of the traced operation."""
    parts = location.locations if isinstance(location, ir.FusedLoc) else [location]
    return next((part.name_str for part in parts if isinstance(part, ir.NameLoc)), "an operation")


def _rewrite(operation: Any, channels: Iterator[int]) -> None:
    location = operation.location
    if isinstance(location, ir.FusedLoc):
        names = [part for part in location.locations if isinstance(part, ir.NameLoc)]
        operation.location = names[0] if names else ir.Location.unknown()
    if operation.name == "mhlo.copy":
        _replace(operation, operation.operands[0])
    elif operation.name == "stablehlo.all_reduce":
        operation.attributes["channel_handle"] = ir.Attribute.parse(_CHANNEL.format(handle=next(channels)))
        operation.attributes["use_global_device_ids"] = ir.UnitAttr.get()
    elif operation.name == "stablehlo.replica_id":
        _replace(operation, _partition_id(operation))
    elif operation.name == "stablehlo.compare":
        _compare_whole_numbers_as_such(operation)


def _compare_whole_numbers_as_such(operation: Any) -> None:
    """Drops the total order of floats, which the sort of a shuffle asks for whatever it compares."""
    element_type = ir.RankedTensorType(operation.operands[0].type).element_type
    is_total_order = "TOTALORDER" in str(operation.attributes.get("compare_type", ""))
    if is_total_order and isinstance(element_type, ir.IntegerType):
        kind = "UNSIGNED" if element_type.is_unsigned else "SIGNED"
        operation.attributes["compare_type"] = ir.Attribute.parse(f"#stablehlo<comparison_type {kind}>")


def _replace(operation: Any, value: Any) -> None:
    operation.results[0].replace_all_uses_with(value)
    operation.erase()


def _partition_id(operation: Any) -> Any:
    result_types = [operation.results[0].type]
    return ir.Operation.create(
        "stablehlo.partition_id", results=result_types, loc=operation.location, ip=ir.InsertionPoint(operation)
    ).results[0]


def _program(module: Any, portable_bytes: bytes) -> Program:
    main: Any = ir.SymbolTable(module.operation)["main"]
    return Program(
        portable_bytes=portable_bytes,
        inputs=tuple(map(tensor_type, main.type.inputs)),
        results=tuple(map(tensor_type, main.type.results)),
        updated_inputs=_updated_inputs(module),
    )


def _updated_inputs(module: Any) -> Mapping[int, int]:
    """Reads the pairs (result, input) that TensorFlow's bridge marks as sharing a buffer: a variable's new value."""
    attributes = module.operation.attributes
    if "mhlo.input_output_alias" not in attributes:
        return {}
    return {
        _result_index(entry): ir.IntegerAttr(entry["alias"]["parameter_number"]).value
        for entry in attributes["mhlo.input_output_alias"]
    }


def _result_index(entry: Any) -> int:
    path = list(ir.DenseI64ArrayAttr(entry["output_index"]))
    return path[0] if path else 0  # a lone result is no tuple, and has no index


_DTYPES_BY_NAME: Mapping[str, Any] = types.MappingProxyType(
    {
        "i1": np.bool_,
        "bf16": jax.numpy.bfloat16,
        "f8E4M3FN": jax.numpy.float8_e4m3fn,
        "f8E5M2": jax.numpy.float8_e5m2,
        "f16": np.float16,
        "f32": np.float32,
        "f64": np.float64,
        "complex<f32>": np.complex64,
        "complex<f64>": np.complex128,
    }
)


def tensor_type(mlir_type: Any) -> TensorType:
    """Returns the type of an MLIR value."""
    ranked = ir.RankedTensorType(mlir_type)
    return TensorType(tuple(ranked.shape), _dtype(str(ranked.element_type)))


def _dtype(name: str) -> np.dtype:
    """Returns the numpy dtype of an MLIR element type such as `f32`, `i64` or `ui8`."""
    if name in _DTYPES_BY_NAME:
        return np.dtype(_DTYPES_BY_NAME[name])
    kind, num_bits = ("uint", name[2:]) if name.startswith("ui") else ("int", name[1:])
    return np.dtype(f"{kind}{num_bits}")


def _abstract_value(item: TensorType) -> Any:
    return jax.core.ShapedArray(item.shape, item.dtype)


def shape_structs(tensor_types: Sequence[TensorType], sharding: Any = None) -> list[jax.ShapeDtypeStruct]:
    """Returns the types as `jax.jit(...).lower` takes them."""
    return [jax.ShapeDtypeStruct(item.shape, item.dtype, sharding=sharding) for item in tensor_types]
