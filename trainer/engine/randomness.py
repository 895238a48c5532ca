"""Random operations of TensorFlow 1 keyed by the global step: a resumed run draws what an uninterrupted one would.

TensorFlow 1's operations keep their place in the stream of random numbers inside the runtime, where no checkpoint sees
it. Their generator (Philox, Salmon et al. 2011) can start anywhere in the stream: the stateless operation that takes
their place at step n starts where the stateful one would be after n executions. So the first run draws the very numbers
that TensorFlow 1 draws on a CPU.

In a loop the turn of the loop is part of the key, and in loops and branches an operation without a seed of its own gets
one that no other has in the trace: TensorFlow's would be the same in every loop and branch. There the numbers are not
TensorFlow 1's. Nor are those of shuffles and of discrete and gamma distributions, whose stateless operations have seeds
of another kind. Operations without any seed, and those inside a `tf.function`, stay as they are.
"""

import contextlib
import dataclasses
import functools
import inspect
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import tensorflow as tf
from tensorflow.python.framework import func_graph, random_seed
from tensorflow.python.ops import control_flow_v2_func_graphs as control_flow
from tensorflow.python.ops import gen_random_ops

# By how many 128-bit samples per number the stateful operations move on.
_SAMPLES_PER_NUMBER = 256
_PHILOX = 1
# Spreads the turns of nested loops over different keys.
_TURN_FACTOR = 1_000_003
# Default seeds of operations in loops and branches begin here; those of the step's own operations begin at 0.
_FIRST_INNER_SEED = 2**30

_STATELESS: Mapping[str, Callable[..., tf.Tensor]] = MappingProxyType(
    {
        "RandomUniform": tf.raw_ops.StatelessRandomUniformV2,
        "RandomStandardNormal": tf.raw_ops.StatelessRandomNormalV2,
        "TruncatedNormal": tf.raw_ops.StatelessTruncatedNormalV2,
        "RandomUniformInt": tf.raw_ops.StatelessRandomUniformIntV2,
    }
)


def _shuffled(inputs: Sequence[tf.Tensor], dtype: tf.DType, seed: tf.Tensor) -> tf.Tensor:
    del dtype
    # XLA has no lowering of TensorFlow's stateless shuffle. Shuffles pass no gradients on, nor does this one in a loop.
    num_rows = tf.shape(inputs[0])[:1]
    sort_keys = tf.random.stateless_uniform(num_rows, seed, minval=None, maxval=None, dtype=tf.int32, alg="philox")
    return tf.stop_gradient(tf.gather(inputs[0], tf.argsort(sort_keys)))


def _categorical(inputs: Sequence[tf.Tensor], dtype: tf.DType, seed: tf.Tensor) -> tf.Tensor:
    return tf.random.stateless_categorical(inputs[0], inputs[1], seed, dtype)


def _gamma(inputs: Sequence[tf.Tensor], dtype: tf.DType, seed: tf.Tensor) -> tf.Tensor:
    shape = tf.concat([inputs[0], tf.shape(inputs[1], inputs[0].dtype)], axis=0)
    return tf.random.stateless_gamma(shape, seed, inputs[1], dtype=dtype)


def _poisson(inputs: Sequence[tf.Tensor], dtype: tf.DType, seed: tf.Tensor) -> tf.Tensor:
    shape = tf.concat([inputs[0], tf.shape(inputs[1], inputs[0].dtype)], axis=0)
    return tf.random.stateless_poisson(shape, seed, inputs[1], dtype)


_SEEDED: Mapping[str, Callable[[Sequence[tf.Tensor], tf.DType, tf.Tensor], tf.Tensor]] = MappingProxyType(
    {"RandomShuffle": _shuffled, "Multinomial": _categorical, "RandomGamma": _gamma, "RandomPoissonV2": _poisson}
)
# The functions that make these operations; `tf.random` calls them by these names.
_MAKERS = MappingProxyType(
    {
        "random_uniform": "RandomUniform",
        "random_standard_normal": "RandomStandardNormal",
        "truncated_normal": "TruncatedNormal",
        "random_uniform_int": "RandomUniformInt",
        "random_shuffle": "RandomShuffle",
        "multinomial": "Multinomial",
        "random_gamma": "RandomGamma",
        "random_poisson_v2": "RandomPoissonV2",
    }
)
_ATTRIBUTES = frozenset({"seed", "seed2", "dtype", "output_dtype", "name"})
_BRANCHES = (control_flow.CondBranchFuncGraph,)
_LOOPS = (control_flow.WhileBodyFuncGraph, control_flow.WhileCondFuncGraph)


@dataclasses.dataclass(frozen=True)
class RandomKey:
    """What the random numbers of a step depend on, beside its seeds.

    Fields:
      step: int64 scalar of the traced graph, read before the step changes it.
      replica_id: makes the replica's number in the default graph; replicas other than 0 draw other numbers.
    """

    step: tf.Tensor
    replica_id: Callable[[], Any]


def is_keyed_by_step(operation: tf.Operation) -> bool:
    """Returns whether `at_step` applies to an operation: it is random, and has a seed."""
    return (operation.type in _STATELESS or operation.type in _SEEDED) and any(
        operation.get_attr(name) for name in ("seed", "seed2")
    )


def at_step(operation: tf.Operation, inputs: Sequence[tf.Tensor], key: RandomKey) -> tf.Tensor:
    """Returns what `operation` would give at its execution number `key.step` (from 0), in the default graph.

    Args:
      operation: the stateful operation.
      inputs: its inputs, in the default graph.
      key: its step is in the default graph.
    """
    seeds = tuple(operation.get_attr(name) for name in ("seed", "seed2"))
    return _drawn(operation.type, inputs, operation.outputs[0].dtype, seeds, key)


@contextlib.contextmanager
def keyed_in_control_flow(graph: func_graph.FuncGraph, key: RandomKey) -> Iterator[None]:
    """Inside the `with` block, random operations with a seed that are made in loops and branches of `graph` are keyed.

    One whose only seed is the graph's gets a seed of its own by its place in the trace, the same at every trace.
    Those of `graph` itself are made as they are: `at_step` takes their place.
    """
    originals = {name: getattr(gen_random_ops, name) for name in _MAKERS}
    get_seed = random_seed.get_seed
    for name, original in originals.items():
        setattr(gen_random_ops, name, _keyed_maker(original, _MAKERS[name], graph, key))
    random_seed.get_seed = _distinct_seeds(get_seed, graph)
    try:
        yield
    finally:
        random_seed.get_seed = get_seed
        for name, original in originals.items():
            setattr(gen_random_ops, name, original)


def _distinct_seeds(
    original: Callable[[int | None], tuple[Any, Any]], graph: func_graph.FuncGraph
) -> Callable[..., Any]:
    ordinals = itertools.count(_FIRST_INNER_SEED)

    @functools.wraps(original)
    def get_seed(op_seed: int | None) -> tuple[Any, Any]:
        present = tf.compat.v1.get_default_graph()
        if op_seed is None and present.seed is not None and _loop_turns(present, graph) is not None:
            op_seed = next(ordinals)
        return original(op_seed)

    return get_seed


def _keyed_maker(
    original: Callable[..., tf.Tensor], kind: str, graph: func_graph.FuncGraph, key: RandomKey
) -> Callable[..., tf.Tensor]:
    signature = inspect.signature(original)

    @functools.wraps(original)
    def make(*args: Any, **kwargs: Any) -> tf.Tensor:
        bound = signature.bind(*args, **kwargs)
        bound.apply_defaults()
        given = bound.arguments
        turns = _loop_turns(tf.compat.v1.get_default_graph(), graph)
        if turns is None or not (given["seed"] or given["seed2"]):
            return original(*args, **kwargs)
        inputs = [tf.convert_to_tensor(value) for name, value in given.items() if name not in _ATTRIBUTES]
        dtype = given.get("dtype") or given.get("output_dtype") or inputs[-1].dtype
        return _drawn(kind, inputs, tf.as_dtype(dtype), (given["seed"], given["seed2"]), key, turns)

    return make


def _loop_turns(graph: tf.Graph, root: tf.Graph) -> list[tf.Tensor] | None:
    """Returns the counters of the loops around `graph` inside `root`, innermost first; None if not in control flow."""
    if graph is root:
        return None
    turns = []
    while graph is not root:
        if not isinstance(graph, _BRANCHES + _LOOPS):
            return None
        if isinstance(graph, _LOOPS):
            turns.append(graph.inputs[0])
        graph = graph.outer_graph
    return turns


def _drawn(
    kind: str,
    inputs: Sequence[tf.Tensor],
    dtype: tf.DType,
    seeds: tuple[int, int],
    key: RandomKey,
    turns: Sequence[tf.Tensor] = (),
) -> tf.Tensor:
    if kind in _SEEDED:
        folded = functools.reduce(_folded, [key.step, key.replica_id(), *turns], tf.constant(seeds, tf.int64))
        # XLA takes seeds of 32 bits only.
        return _SEEDED[kind](inputs, dtype, tf.bitcast(folded, tf.int32)[:, 0])
    num_values = tf.reduce_prod(tf.cast(inputs[0], tf.uint64))
    position = tf.cast(key.step, tf.uint64) * num_values * _SAMPLES_PER_NUMBER
    seed, stream = (tf.constant(value % 2**64, tf.uint64) for value in seeds)
    seed += _high(tf.cast(key.replica_id(), tf.uint64))
    if turns:
        stream += _high(functools.reduce(_combined, turns, tf.constant(1, tf.uint64)))
    arguments = {"shape": inputs[0], "key": seed[tf.newaxis], "counter": tf.stack([position, stream]), "alg": _PHILOX}
    if kind == "RandomUniformInt":
        return tf.raw_ops.StatelessRandomUniformIntV2(minval=inputs[1], maxval=inputs[2], **arguments)
    return _STATELESS[kind](dtype=dtype, **arguments)


def _folded(seed: tf.Tensor, number: Any) -> tf.Tensor:
    return tf.random.fold_in(seed, tf.cast(number, tf.int64))


def _combined(so_far: tf.Tensor, turn: tf.Tensor) -> tf.Tensor:
    return so_far * _TURN_FACTOR + tf.cast(turn, tf.uint64)


def _high(value: tf.Tensor) -> tf.Tensor:
    return tf.bitwise.left_shift(value, tf.constant(32, tf.uint64))
