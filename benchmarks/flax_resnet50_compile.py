"""Compiles flax's training step for a TPU: `python -m benchmarks.flax_resnet50_compile TOPOLOGY BATCH_SIZE DIRECTORY`.

Started by `preflight_vs_flax`, with the environment that the TPU compiler wants, in an interpreter that has flax.
"""

import dataclasses
import json
import pathlib
import sys
import time

import jax
import jax.numpy as jnp
from jax.sharding import SingleDeviceSharding

from benchmarks import flax_resnet50
from trainer.engine import topology as tpu_topology
from trainer.preflight import compile_worker


def main(topology_name: str, batch_size: int, directory: pathlib.Path) -> None:
    """Writes the files that `compile_worker` writes."""
    device = tpu_topology.compile_only_devices(tpu_topology.parse(topology_name))[0]
    sharding = SingleDeviceSharding(device)

    def on_device(item):
        return jax.ShapeDtypeStruct(item.shape, item.dtype, sharding=sharding)

    state = jax.tree.map(on_device, jax.eval_shape(flax_resnet50.initial_state))
    size = flax_resnet50.IMAGE_SIZE
    images = jax.ShapeDtypeStruct((batch_size, size, size, 3), jnp.uint8, sharding=sharding)
    labels = jax.ShapeDtypeStruct((batch_size,), jnp.int32, sharding=sharding)
    start_secs = time.monotonic()
    compiled = jax.jit(flax_resnet50.train_step, donate_argnums=0).lower(state, images, labels).compile()
    figures = compile_worker.figures(compiled, time.monotonic() - start_secs)
    (directory / compile_worker.RESULT_FILE).write_text(json.dumps(dataclasses.asdict(figures)))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), pathlib.Path(sys.argv[3]))
