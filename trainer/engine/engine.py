"""What every engine offers: it loads a step program and runs it, one call a step."""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol

import tensorflow as tf

from trainer import replica
from trainer.engine import step_program


class Executable(Protocol):
    """A step program made ready to run, with its state wherever the engine keeps it."""

    program: step_program.StepProgram

    def __call__(self, batch: Sequence[tf.Tensor]) -> list[Any]:
        """Runs one step, without waiting for it where the device allows.

        Args:
          batch: the flat tensors of the global batch. On axis 0, rows `[i * n, (i + 1) * n)` are replica i's, where
            n is axis 0 of `program.batch_specs`.

        Returns:
          The flat outputs (`program.pack_outputs` gives them their structure): those of `program.is_per_replica`
          concatenated over replicas on axis 0, of the others replica 0's. Tensors or arrays, perhaps not there yet.
        """
        ...

    def read_state(self) -> None:
        """Takes over the values of the program's `tf.Variable`s, before the first step and after each restore."""
        ...

    def write_state(self) -> None:
        """Puts the state into the program's `tf.Variable`s, for checkpoints and for other programs."""
        ...


class Engine(Protocol):
    """A place where step programs run."""

    @property
    def num_replicas(self) -> int:
        """How many replicas share a global batch."""
        ...

    @property
    def num_local_replicas(self) -> int:
        """How many of them this process feeds."""
        ...

    @property
    def process_index(self) -> int:
        """The number of this process among those that feed the same step."""
        ...

    @property
    def needs_static_shapes(self) -> bool:
        """Whether every dimension of the batch must be known when the step is traced."""
        ...

    def replica_context(self) -> replica.ReplicaContext:
        """Returns the context to open around a trace."""
        ...

    def profiling(self, directory: str) -> AbstractContextManager[Any]:
        """Inside the `with` block, records what the devices do, for TensorBoard's profile page."""
        ...

    def wait_for_others(self) -> None:
        """Returns when every process that feeds the same step has come here."""
        ...

    def load(self, program: step_program.StepProgram) -> Executable:
        """Returns the program ready to run, its state read."""
        ...
