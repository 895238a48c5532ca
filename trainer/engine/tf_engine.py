"""The `tf` engine: runs the step program as the TensorFlow function it is, on CPU or one GPU."""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any

import tensorflow as tf

from trainer import replica
from trainer.engine import step_program


class TfExecutable:
    """A step program whose state is in its `tf.Variable`s, where the function captured them."""

    def __init__(self, program: step_program.StepProgram):
        self.program = program
        self._function = program.concrete_function

    def __call__(self, batch: Sequence[tf.Tensor]) -> list[Any]:
        """Runs one step on the flat tensors of the batch; returns the flat outputs."""
        return self._function(*batch)

    def read_state(self) -> None:
        """Does nothing: the variables are the state."""

    def write_state(self) -> None:
        """Does nothing: the variables are the state."""


class TfEngine:
    """One replica on this machine."""

    num_replicas = 1
    num_local_replicas = 1
    process_index = 0
    needs_static_shapes = False

    def replica_context(self) -> replica.ReplicaContext:
        """Returns the context of a lone replica."""
        return replica.ReplicaContext()

    def profiling(self, directory: str) -> AbstractContextManager[Any]:
        """Records a profile by TensorFlow's profiler."""
        return tf.profiler.experimental.Profile(directory)

    def wait_for_others(self) -> None:
        """Does nothing: there are none."""

    def load(self, program: step_program.StepProgram) -> TfExecutable:
        """Returns the program, ready to run."""
        return TfExecutable(program)
