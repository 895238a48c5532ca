"""A program for one replica, as one jitted function over a mesh of replicas.

    (state, batch) -> (state, outputs)

Each replica has its own copy of every variable, on its own device. Copies that the program keeps equal (weights, whose
gradients it sums over replicas) stay equal; others (moving statistics of batch normalisation) differ, as under
TPUEstimator. JAX is told that the state is replicated, which it does not check; what reads the state takes the first
replica's copy.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec

from trainer.engine import stablehlo

REPLICA_AXIS = "replica"


def replica_mesh(devices: Sequence[Any]) -> jax.sharding.Mesh:
    """Returns the mesh in which replica `i` is `devices[i]`."""
    return jax.sharding.Mesh(np.array(devices), (REPLICA_AXIS,))


@dataclasses.dataclass(frozen=True)
class ReplicatedStep:
    """`program` on every device of `mesh`; its first `num_batch_inputs` inputs are the batch, the others the state."""

    program: stablehlo.Program
    mesh: jax.sharding.Mesh
    num_batch_inputs: int
    platform: str

    def __post_init__(self):
        if any(index < self.num_batch_inputs for index in self.program.updated_inputs.values()):
            raise ValueError("the program updates an input that belongs to the batch")

    @property
    def state_sharding(self) -> NamedSharding:
        """Every replica has a whole copy."""
        return NamedSharding(self.mesh, PartitionSpec())

    @property
    def batch_shardings(self) -> tuple[NamedSharding, ...]:
        """Axis 0 is divided among replicas; scalars go to all."""
        return tuple(NamedSharding(self.mesh, spec) for spec in self._batch_specs)

    @property
    def state_types(self) -> tuple[stablehlo.TensorType, ...]:
        """The variables, in the order of the state."""
        return self.program.inputs[self.num_batch_inputs :]

    @property
    def global_batch_types(self) -> tuple[stablehlo.TensorType, ...]:
        """The batch of all replicas together."""
        return tuple(
            dataclasses.replace(item, shape=(item.shape[0] * self.mesh.size, *item.shape[1:])) if item.shape else item
            for item in self.program.inputs[: self.num_batch_inputs]
        )

    def jitted(self) -> Any:
        """Returns the jitted step. Outputs are concatenated on axis 0, scalars as vectors of one number a replica."""
        state_specs = (PartitionSpec(),) * len(self.state_types)
        output_specs = (PartitionSpec(REPLICA_AXIS),) * (len(self.program.results) - len(self.program.updated_inputs))
        over_replicas = jax.shard_map(
            self._one_replica(),
            mesh=self.mesh,
            in_specs=(state_specs, self._batch_specs),
            out_specs=(state_specs, output_specs),
            check_vma=False,  # it cannot see into the program
        )
        # Shardings are given again so that each variable's new value takes over the buffer of the old one, by position.
        states = (self.state_sharding,) * len(self.state_types)
        outputs = tuple(NamedSharding(self.mesh, spec) for spec in output_specs)
        return jax.jit(
            over_replicas,
            in_shardings=(states, self.batch_shardings),
            out_shardings=(states, outputs),
            donate_argnums=0,
        )

    def lower(self) -> Any:
        """Returns the step lowered for the mesh's devices, which may be devices to compile for only."""
        states = tuple(stablehlo.shape_structs(self.state_types, self.state_sharding))
        batch = tuple(
            jax.ShapeDtypeStruct(item.shape, item.dtype, sharding=sharding)
            for item, sharding in zip(self.global_batch_types, self.batch_shardings, strict=True)
        )
        with jax.enable_x64(True):  # the global step is int64
            return self.jitted().lower(states, batch)

    @property
    def _batch_specs(self) -> tuple[PartitionSpec, ...]:
        batch_inputs = self.program.inputs[: self.num_batch_inputs]
        return tuple(PartitionSpec(REPLICA_AXIS) if item.shape else PartitionSpec() for item in batch_inputs)

    def _one_replica(self) -> Any:
        function = stablehlo.as_jax_function(self.program, platform=self.platform)
        updated_inputs = self.program.updated_inputs

        def step(state: tuple, batch: tuple) -> tuple[tuple, tuple]:
            results = function(*batch, *state)
            new_state = list(state)
            for result_index, input_index in updated_inputs.items():
                new_state[input_index - self.num_batch_inputs] = results[result_index]
            outputs = [result for index, result in enumerate(results) if index not in updated_inputs]
            return tuple(new_state), tuple(output if output.ndim else output[None] for output in outputs)

        return step
