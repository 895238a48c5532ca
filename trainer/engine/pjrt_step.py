"""A program for one replica, as one jitted function over a mesh of replicas.

    (state, batch) -> (state, outputs)

Each replica has its own copy of every variable, on its own device. Copies that the program keeps equal (weights, whose
gradients it sums over replicas) stay equal; others may differ, such as the moving statistics of a batch normalisation
that does not average them. JAX is told that the state is replicated, which it does not check; what reads the state
takes the first replica's copy.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec

from trainer.engine import stablehlo, stablehlo_for_gpu

REPLICA_AXIS = "replica"


@dataclasses.dataclass(frozen=True)
class StepInterface:
    """How a program's inputs and results are meant.

    Fields:
      num_batch_inputs: the first inputs are the batch of one replica; the others the state.
      is_per_replica: for each output (a result that updates no variable), whether it is to be concatenated over
        replicas on axis 0; of the others, replica 0's is given.
    """

    num_batch_inputs: int
    is_per_replica: tuple[bool, ...]


@dataclasses.dataclass(frozen=True)
class ReplicatedStep:
    """`program` on every device of `mesh`. `platform` is JAX's name for the devices: `tpu`, `cuda`, `cpu`."""

    program: stablehlo.Program
    interface: StepInterface
    mesh: jax.sharding.Mesh
    platform: str

    def __post_init__(self):
        updated_inputs = self.program.updated_inputs
        if any(index < self.interface.num_batch_inputs for index in updated_inputs.values()):
            raise ValueError("the program updates an input that belongs to the batch")
        if len(self.interface.is_per_replica) != len(self.program.results) - len(updated_inputs):
            raise ValueError("is_per_replica must have one entry for each result that updates no variable")

    @property
    def state_types(self) -> tuple[stablehlo.TensorType, ...]:
        """The variables, in the order of the state."""
        return self.program.inputs[self.interface.num_batch_inputs :]

    @property
    def global_batch_types(self) -> tuple[stablehlo.TensorType, ...]:
        """The batch of all replicas together."""
        return tuple(
            dataclasses.replace(item, shape=(item.shape[0] * self.mesh.size, *item.shape[1:])) if item.shape else item
            for item in self.program.inputs[: self.interface.num_batch_inputs]
        )

    @property
    def state_sharding(self) -> NamedSharding:
        """Every replica has a whole copy."""
        return NamedSharding(self.mesh, PartitionSpec())

    @property
    def batch_shardings(self) -> tuple[NamedSharding, ...]:
        """Axis 0 is divided among replicas; scalars go to all."""
        return tuple(NamedSharding(self.mesh, spec) for spec in self._batch_specs)

    def jitted(self) -> Any:
        """Returns the jitted step, which takes over the buffers of its state."""
        state_specs = (PartitionSpec(),) * len(self.state_types)
        over_replicas = jax.shard_map(
            self._one_replica(),
            mesh=self.mesh,
            in_specs=(state_specs, self._batch_specs),
            out_specs=(state_specs, self._output_specs),
            check_vma=False,  # it cannot see into the program
        )
        # Shardings are given again so that each variable's new value takes over the buffer of the old one, by position.
        states = (self.state_sharding,) * len(self.state_types)
        outputs = tuple(NamedSharding(self.mesh, spec) for spec in self._output_specs)
        return jax.jit(
            over_replicas,
            in_shardings=(states, self.batch_shardings),
            out_shardings=(states, outputs),
            donate_argnums=0,
        )

    def compile(self) -> Any:
        """Returns the step compiled for the mesh's devices, which may be devices to compile for only."""
        states = tuple(stablehlo.shape_structs(self.state_types, self.state_sharding))
        batch = tuple(
            jax.ShapeDtypeStruct(item.shape, item.dtype, sharding=sharding)
            for item, sharding in zip(self.global_batch_types, self.batch_shardings, strict=True)
        )
        with jax.enable_x64(True):  # the global step is int64
            return self.jitted().lower(states, batch).compile()

    @property
    def _batch_specs(self) -> tuple[PartitionSpec, ...]:
        batch_inputs = self.program.inputs[: self.interface.num_batch_inputs]
        return tuple(PartitionSpec(REPLICA_AXIS) if item.shape else PartitionSpec() for item in batch_inputs)

    @property
    def _is_over_processes(self) -> bool:
        return len({device.process_index for device in self.mesh.devices.flat}) > 1

    @property
    def _output_specs(self) -> tuple[PartitionSpec, ...]:
        sharded = PartitionSpec() if self._is_over_processes else PartitionSpec(REPLICA_AXIS)
        return tuple(sharded if is_per_replica else PartitionSpec() for is_per_replica in self.interface.is_per_replica)

    def _one_replica(self) -> Any:
        program = stablehlo_for_gpu.for_gpu(self.program) if self.platform == "cuda" else self.program
        function = stablehlo.as_jax_function(program, platform=self.platform)
        updated_inputs = self.program.updated_inputs
        num_batch_inputs = self.interface.num_batch_inputs

        def step(state: tuple, batch: tuple) -> tuple[tuple, tuple]:
            results = function(*batch, *state)
            new_state = list(state)
            for result_index, input_index in updated_inputs.items():
                new_state[input_index - num_batch_inputs] = results[result_index]
            outputs = [result for index, result in enumerate(results) if index not in updated_inputs]
            return tuple(new_state), tuple(map(self._for_every_process, outputs, self.interface.is_per_replica))

        return step

    def _for_every_process(self, output: Any, is_per_replica: bool) -> Any:
        """Gathers an output that is divided among processes: each can then read the whole of it."""
        if is_per_replica and self._is_over_processes:
            return jax.lax.all_gather(output, REPLICA_AXIS, tiled=True)
        return output


def replica_mesh(devices: Sequence[Any]) -> jax.sharding.Mesh:
    """Returns the mesh in which replica `i` is `devices[i]`."""
    return jax.sharding.Mesh(np.array(devices), (REPLICA_AXIS,))
