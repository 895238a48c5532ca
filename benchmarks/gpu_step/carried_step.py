"""The files that carry a step from where it was lowered to where it runs."""

import dataclasses
import json
import math
import pathlib

import jax
import numpy as np

from trainer.engine import pjrt_step, stablehlo

PROGRAM_FILE = "program.mlirbc"
STEP_FILE = "step.json"


@dataclasses.dataclass(frozen=True)
class CarriedStep:
    """How the program's inputs are meant; variables by name, in the order of the state."""

    num_replicas: int
    num_batch_inputs: int
    is_per_replica: tuple[bool, ...]
    variable_names: tuple[str, ...]


def read(directory: pathlib.Path, platform: str) -> tuple[pjrt_step.ReplicatedStep, CarriedStep]:
    """Returns the step on this machine's first devices."""
    carried = CarriedStep(**json.loads((directory / STEP_FILE).read_text()))
    interface = pjrt_step.StepInterface(carried.num_batch_inputs, tuple(carried.is_per_replica))
    mesh = pjrt_step.replica_mesh(jax.devices()[: carried.num_replicas])
    program = stablehlo.read((directory / PROGRAM_FILE).read_bytes())
    return pjrt_step.ReplicatedStep(program, interface, mesh, platform), carried


def initial_state(step: pjrt_step.ReplicatedStep, names: tuple[str, ...]) -> tuple[jax.Array, ...]:
    """Returns the state at step 0 on the devices; weights are drawn as the layers draw them."""
    generator = np.random.default_rng(0)
    values = [_initial_value(name, item, generator) for name, item in zip(names, step.state_types, strict=True)]
    with jax.enable_x64(True):
        return tuple(jax.device_put(value, step.state_sharding) for value in values)


def _initial_value(name: str, item: stablehlo.TensorType, generator: np.random.Generator) -> np.ndarray:
    if name.endswith("/kernel"):
        fan_out = math.prod(item.shape[:-2]) * item.shape[-1]
        return generator.normal(0.0, math.sqrt(2.0 / fan_out), item.shape).astype(item.dtype)
    is_one = name.endswith(("/gamma", "/moving_variance"))
    return np.full(item.shape, 1 if is_one else 0, item.dtype)
