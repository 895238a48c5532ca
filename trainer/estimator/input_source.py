"""From an input_fn to a stream of batches.

An input_fn is called inside a graph, as the Estimator of TensorFlow 1 did: it may return a Dataset, or the tensors of
an iterator that each step reads anew. One that needs eager execution is called again eagerly.
"""

import dataclasses
import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import tensorflow as tf
from absl import logging

from trainer.estimator import calls, seed_counter

# What TensorFlow raises for `.numpy()`, `for element in dataset`, `if tensor:` in a graph.
_NEEDS_EAGER_EXECUTION = (AttributeError, NotImplementedError, RuntimeError, TypeError)


@dataclasses.dataclass(frozen=True)
class BatchStream:
    """Batches as they come from one call of an input_fn.

    Fields:
      dataset: its elements are the batches, read ahead.
      owners: what must live as long as the batches are read: tables, Python functions that the graph calls.
      num_seeds: how many operations took their seed from that of the graph, such as a `shuffle` without one.
    """

    dataset: tf.data.Dataset
    owners: tuple[Any, ...] = ()
    num_seeds: int = 0

    @property
    def element_spec(self) -> Any:
        """A nest of `TypeSpec`s: `(features, labels)`, or features."""
        return self.dataset.element_spec

    def skip(self, num_batches: int) -> "BatchStream":
        """Returns the stream without its first batches, which are read all the same."""
        return dataclasses.replace(self, dataset=self.dataset.skip(num_batches)) if num_batches else self

    def read(self) -> Iterator[Any]:
        """Reads the batches from the first one on, as nests of eager tensors."""
        yield from self.dataset.prefetch(tf.data.AUTOTUNE)


def call(input_fn: Callable[..., Any], offered: Mapping[str, Any], seed: int | None = None) -> BatchStream:
    """Calls an input_fn with those of the `offered` arguments that it takes.

    Args:
      input_fn: returns a Dataset, `(features, labels)`, or features.
      offered: arguments by name.
      seed: graph-level random seed, for shuffling without a seed of its own.

    Raises:
      TypeError: it returned something else.
      ValueError: it returned neither features nor a pair.
    """
    graph = tf.Graph()
    graph.seed = seed
    try:
        with graph.as_default():
            result = calls.with_accepted(input_fn, offered)
            result = result if isinstance(result, tf.data.Dataset) else tf.nest.map_structure(_as_tensor, _pair(result))
    except _NEEDS_EAGER_EXECUTION as error:
        logging.debug("input_fn is called eagerly, because in a graph it fails: %s", error)
        return _call_eagerly(input_fn, offered)
    if not isinstance(result, tf.data.Dataset):
        stream = _from_tensors(graph, result)
    else:
        _check_pair(result.element_spec)
        stream = _from_dataset(graph, result)
    return dataclasses.replace(stream, num_seeds=seed_counter.count(graph))


def _call_eagerly(input_fn: Callable[..., Any], offered: Mapping[str, Any]) -> BatchStream:
    result = calls.with_accepted(input_fn, offered)
    if isinstance(result, tf.data.Dataset):
        _check_pair(result.element_spec)
        return BatchStream(result)
    raise TypeError(
        f"input_fn must return a tf.data.Dataset when it executes eagerly, got {type(result).__name__}; "
        f"return the Dataset itself, not its elements"
    )


def _from_dataset(graph: tf.Graph, dataset: tf.data.Dataset) -> BatchStream:
    """Brings a Dataset out of the graph that made it, as a function that makes it, into eager execution.

    That is `graph`, unless the program has made it before the input_fn was called.
    """
    with graph.as_default():
        made_before = tf.data.experimental.to_variant(dataset)
    if not tf.is_symbolic_tensor(made_before):
        return BatchStream(dataset)
    graph, variant = made_before.graph, made_before.name
    initializers = [operation.name for operation in graph.get_collection(tf.compat.v1.GraphKeys.TABLE_INITIALIZERS)]
    graph_def = graph.as_graph_def()
    imported = tf.compat.v1.wrap_function(lambda: tf.graph_util.import_graph_def(graph_def, name=""), [])
    # One function for both: a table lives in the function that makes it.
    maker = imported.prune([], [imported.graph.as_graph_element(name) for name in (variant, *initializers)])
    made = tf.data.experimental.from_variant(maker()[0], dataset.element_spec)
    return BatchStream(made, owners=(graph, imported, maker))


def _from_tensors(graph: tf.Graph, batch: Any) -> BatchStream:
    """Returns the stream of what tensors give, each time they are evaluated anew."""
    flat_batch = tf.nest.flatten(batch, expand_composites=True)
    dataset = tf.data.Dataset.from_generator(
        functools.partial(_evaluate_repeatedly, graph, flat_batch),
        output_signature=tuple(tf.TensorSpec(tensor.shape, tensor.dtype) for tensor in flat_batch),
    )
    structure = tf.nest.map_structure(tf.type_spec_from_value, batch)
    packed = dataset.map(lambda *flat: tf.nest.pack_sequence_as(structure, flat, expand_composites=True))
    return BatchStream(packed, owners=(graph,))


def _evaluate_repeatedly(graph: tf.Graph, tensors: Sequence[tf.Tensor]) -> Iterator[tuple[Any, ...]]:
    session = tf.compat.v1.Session(graph=graph)
    with graph.as_default():
        # Counters of epochs are local variables.
        initializers = ("global_variables", "local_variables", "tables")
        session.run([getattr(tf.compat.v1, f"{name}_initializer")() for name in initializers])
        coordinator = tf.train.Coordinator()
        has_queues = graph.get_collection(tf.compat.v1.GraphKeys.QUEUE_RUNNERS)
        # TensorFlow warns of the call itself, even when there is nothing to start.
        threads = tf.compat.v1.train.start_queue_runners(session, coordinator) if has_queues else []
        evaluate = session.make_callable(list(tensors))
    try:
        while True:
            yield tuple(evaluate())
    except tf.errors.OutOfRangeError:
        return
    finally:
        coordinator.request_stop()
        coordinator.join(threads, ignore_live_threads=True)
        session.close()


def _pair(result: Any) -> Any:
    """Returns `(features, labels)`, or features alone."""
    if result is None:
        raise ValueError("input_fn returned None; return a tf.data.Dataset of (features, labels), or such tensors")
    _check_pair(result)
    if not isinstance(result, (list, tuple)):
        return result
    features, labels = result
    return features if labels is None else (features, labels)


def _check_pair(result: Any) -> None:
    if isinstance(result, (list, tuple)) and len(result) != 2:
        raise ValueError(
            f"input_fn should return (features, labels) as a len 2 tuple, got {len(result)} elements; "
            f"name several features in a dict"
        )


def _as_tensor(value: Any) -> Any:
    return value if tf.is_tensor(value) else tf.convert_to_tensor(value)
