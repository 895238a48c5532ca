"""The `pjrt` engine: runs the step program on TPUs, GPUs or virtual CPU devices, through JAX's runtime.

The program is lowered to StableHLO once and compiled for all replicas together. TensorFlow traces it and keeps the
variables between runs; it touches no device.
"""

import collections
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any

import jax
import numpy as np
import tensorflow as tf
from absl import logging
from jax.experimental import multihost_utils
from tensorflow.compiler.tf2xla.ops import gen_xla_ops

from trainer import replica
from trainer.engine import pjrt_devices, pjrt_step, stablehlo, stablehlo_errors, step_program

# How many steps may be under way before the host waits for the oldest: enough to hide the transfer of the next batches,
# few enough that these batches do not fill the device's memory.
_MAX_STEPS_UNDER_WAY = 4


class PjrtEngine:
    """Replicas on the devices of `device_set`, one each."""

    needs_static_shapes = True

    def __init__(self, device_set: pjrt_devices.DeviceSet):
        self._platform = device_set.platform
        self._mesh = pjrt_step.replica_mesh(device_set.devices)
        logging.info("pjrt engine: %s, one replica on each", device_set)

    @property
    def num_replicas(self) -> int:
        """Replicas of all processes."""
        return self._mesh.size

    @property
    def num_local_replicas(self) -> int:
        """Replicas that this process feeds."""
        return len(self._mesh.local_devices)

    @property
    def num_processes(self) -> int:
        """Processes that feed the replicas, each its own."""
        return self.num_replicas // self.num_local_replicas

    @property
    def process_index(self) -> int:
        """This process's number: it feeds replicas from `process_index * num_local_replicas` on."""
        return self._mesh.local_mesh.devices.flat[0].process_index

    def replica_context(self) -> replica.ReplicaContext:
        """Returns the context in which replicas are told apart and sums over them are taken on the devices."""
        return replica_context(self.num_replicas)

    def profiling(self, directory: str) -> AbstractContextManager[Any]:
        """Records a profile by JAX's profiler."""
        return jax.profiler.trace(directory)

    def wait_for_others(self) -> None:
        """Returns when every process that feeds the same step has come here."""
        if self.num_processes > 1:
            multihost_utils.sync_global_devices("wait_for_others")

    def load(self, program: step_program.StepProgram) -> "PjrtExecutable":
        """Returns the program compiled, its state on the devices.

        Raises:
          LoweringError: when the program holds an operation that XLA has no lowering for, or shapes that depend on
            data.
        """
        interface = pjrt_step.StepInterface(len(program.batch_specs), program.is_per_replica)
        step = pjrt_step.ReplicatedStep(lower(program), interface, self._mesh, self._platform)
        return PjrtExecutable(program, step)


def replica_context(num_replicas: int) -> replica.ReplicaContext:
    """Returns the context of a trace for `num_replicas` devices, whether they are there or only compiled for."""

    def all_reduce_sum(value: tf.Tensor, group_assignment: list[list[int]] | None = None) -> tf.Tensor:
        groups = group_assignment or [list(range(num_replicas))]

        # Each replica's sum depends on every replica's value, so gradients are summed over the same replicas.
        @tf.custom_gradient
        def summed(local: tf.Tensor) -> tuple[tf.Tensor, Any]:
            return _all_reduce(local, groups), lambda upstream: _all_reduce(upstream, groups)

        return summed(value)

    return replica.ReplicaContext(num_replicas, all_reduce_sum, gen_xla_ops.xla_replica_id, is_for_xla=True)


def _all_reduce(value: tf.Tensor, groups: list[list[int]]) -> tf.Tensor:
    return gen_xla_ops.xla_all_reduce(value, groups, reduce_op="Add", mode="CrossReplica")


def lower(program: step_program.StepProgram) -> stablehlo.Program:
    """Returns the step as StableHLO for one replica: inputs are the flat batch, then the variables.

    Raises:
      LoweringError: when it cannot run under XLA; names the operation and the line that made it.
    """
    stablehlo_errors.check(program)
    try:
        return stablehlo.prepare(stablehlo.lower(program.concrete_function))
    except (ValueError, tf.errors.OpError) as error:
        raise stablehlo_errors.explain(error, program) from error


class PjrtExecutable:
    """A compiled step with its state on the devices."""

    def __init__(self, program: step_program.StepProgram, step: pjrt_step.ReplicatedStep):
        self.program = program
        self._step = step
        start_secs = time.monotonic()
        self._compiled = step.compile()
        logging.info("compiled the step for %d replica(s) in %.1f s", step.mesh.size, time.monotonic() - start_secs)
        self._state: tuple[jax.Array, ...] = ()
        self._under_way: collections.deque[Any] = collections.deque()
        self.read_state()

    def __call__(self, batch: Sequence[Any]) -> list[jax.Array]:
        """Starts one step on this process's rows of the global batch; see `Executable`."""
        with jax.enable_x64(True):
            on_devices = tuple(map(_put, batch, self._step.batch_shardings))
            self._state, outputs = self._compiled(self._state, on_devices)
        self._under_way.append(outputs)
        if len(self._under_way) > self._max_steps_under_way:
            jax.block_until_ready(self._under_way.popleft())
        return list(outputs)

    def read_state(self) -> None:
        """Copies the variables to every device; of several processes, those of the first.

        Others may have drawn first values of their own, or have seen another checkpoint as the newest.
        """
        with jax.enable_x64(True):
            values = _captured_values(self.program)
            if not self._step.state_sharding.is_fully_addressable:
                values = multihost_utils.broadcast_one_to_all(values)
            self._state = tuple(_put(value, self._step.state_sharding) for value in values)

    def write_state(self) -> None:
        """Copies replica 0's state into the variables; waits for the steps under way."""
        copies = [array.addressable_data(0) for array in self._state[: len(self.program.variables)]]
        for variable, value in zip(self.program.variables, jax.device_get(copies), strict=True):
            variable.assign(value)

    @property
    def _max_steps_under_way(self) -> int:
        # Virtual CPU devices share few threads: replicas of a second step can take those that the first one's sums
        # over replicas wait for.
        return 0 if self._step.platform == "cpu" else _MAX_STEPS_UNDER_WAY


def _captured_values(program: step_program.StepProgram) -> list[np.ndarray]:
    """Returns what the program captured, in order: the values of its variables, then constants."""
    constants = program.concrete_function.captured_inputs[len(program.variables) :]
    return [variable.numpy() for variable in program.variables] + [constant.numpy() for constant in constants]


def _put(value: Any, sharding: jax.sharding.Sharding) -> jax.Array:
    """Starts the transfer of a host's value, or its part of a value that is divided among hosts, to the devices."""
    array = np.asarray(value)
    if sharding.is_fully_addressable:
        return jax.device_put(array, sharding)
    return jax.make_array_from_process_local_data(sharding, array)
