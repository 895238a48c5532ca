"""Which replica a model function is being traced for, and how replicas talk to each other.

Engines open a `ReplicaContext` around a trace; layers, optimizers and hooks below ask `current()`. Outside an engine
there is one replica, and every cross-replica operation is the identity.
"""

import contextlib
import contextvars
import dataclasses
from collections.abc import Callable, Iterator
from typing import Any


def _identity(value: Any, group_assignment: list[list[int]] | None = None) -> Any:
    del group_assignment
    return value


@dataclasses.dataclass(frozen=True)
class ReplicaContext:
    """`all_reduce_sum(tensor, group_assignment=None)` sums over replicas, or over each group of replica ids.

    `replica_id` returns an int32 scalar (a Python int with one replica). `is_for_xla` says that the trace is compiled
    whole: loops and their gradients are then written with sizes that the compiler knows.
    """

    num_replicas: int = 1
    all_reduce_sum: Callable[..., Any] = _identity
    replica_id: Callable[[], Any] = lambda: 0
    is_for_xla: bool = False


_CURRENT: contextvars.ContextVar[ReplicaContext | None] = contextvars.ContextVar("replica_context", default=None)


def current() -> ReplicaContext:
    """Returns the context of the trace in progress; one lone replica when there is none."""
    return _CURRENT.get() or ReplicaContext()


@contextlib.contextmanager
def tracing(context: ReplicaContext) -> Iterator[ReplicaContext]:
    """Makes `context` the current one inside the `with` block."""
    token = _CURRENT.set(context)
    try:
        yield context
    finally:
        _CURRENT.reset(token)
