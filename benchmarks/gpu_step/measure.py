"""Times the steps on this machine: `python -m benchmarks.gpu_step.measure DIRECTORY [--peers=flax,torch]`.

Images are on the device already, uint8; each program casts and normalises them. Programs take turns, several rounds,
and the median round of each is shown.
"""

import argparse
import pathlib
import statistics
import time
from collections.abc import Callable

import jax
import numpy as np

from benchmarks.gpu_step import carried_step

_NUM_WARMUP_STEPS = 10
_NUM_STEPS_PER_ROUND = 30

# Runs some steps and waits for them.
RunSteps = Callable[[int], None]


def main() -> None:
    """Prints images per second of each program."""
    arguments = _parser().parse_args()
    platform = {"gpu": "cuda", "tpu": "tpu", "cpu": "cpu"}[jax.devices()[0].platform]
    print(f"{jax.devices()[0].device_kind}, jax {jax.__version__}", flush=True)
    programs: dict[str, tuple[RunSteps, int]] = {}
    for directory in arguments.directories:
        programs[directory.name] = ours(directory, platform)
    batch_size = next(iter(programs.values()))[1]
    for peer in filter(None, arguments.peers.split(",")):
        programs[peer] = PEERS[peer](batch_size)
    rates = measure(programs, arguments.num_rounds)
    for name, values in rates.items():
        print(f"{name:<24}{statistics.median(values):>10,.0f} images/s   ({min(values):,.0f} to {max(values):,.0f})")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("directories", nargs="+", type=pathlib.Path, help="what `export` wrote")
    parser.add_argument("--peers", default="flax,torch", help="comma-separated; empty for none")
    parser.add_argument("--num_rounds", type=int, default=5)
    return parser


def measure(programs: dict[str, tuple[RunSteps, int]], num_rounds: int) -> dict[str, list[float]]:
    """Returns images per second of every round, by program."""
    for name, (run_steps, _) in programs.items():
        start_secs = time.monotonic()
        run_steps(_NUM_WARMUP_STEPS)
        print(f"{name}: warm after {time.monotonic() - start_secs:.0f} s", flush=True)
    rates: dict[str, list[float]] = {name: [] for name in programs}
    for _ in range(num_rounds):
        for name, (run_steps, batch_size) in programs.items():
            start_secs = time.monotonic()
            run_steps(_NUM_STEPS_PER_ROUND)
            rates[name].append(_NUM_STEPS_PER_ROUND * batch_size / (time.monotonic() - start_secs))
    return rates


def ours(directory: pathlib.Path, platform: str) -> tuple[RunSteps, int]:
    """Returns our step, and its images per step."""
    step, carried = carried_step.read(directory, platform)
    compiled = step.compile()
    state = carried_step.initial_state(step, tuple(carried.variable_names))
    generator = np.random.default_rng(1)
    batch = tuple(
        jax.device_put(generator.integers(0, 256 if item.shape[1:] else 1000, item.shape).astype(item.dtype), sharding)
        for item, sharding in zip(step.global_batch_types, step.batch_shardings, strict=True)
    )

    def run_steps(num_steps: int) -> None:
        nonlocal state
        for _ in range(num_steps):
            state, outputs = compiled(state, batch)
        jax.block_until_ready(outputs)

    return run_steps, step.global_batch_types[0].shape[0]


def flax(batch_size: int) -> tuple[RunSteps, int]:
    """Returns flax's step."""
    from benchmarks import flax_resnet50  # noqa: PLC0415 - needs flax

    compiled = jax.jit(flax_resnet50.train_step, donate_argnums=0)
    state = jax.jit(flax_resnet50.initial_state)()
    generator = np.random.default_rng(1)
    size = flax_resnet50.IMAGE_SIZE
    images = jax.device_put(generator.integers(0, 256, (batch_size, size, size, 3)).astype(np.uint8))
    labels = jax.device_put(generator.integers(0, 1000, (batch_size,)).astype(np.int32))

    def run_steps(num_steps: int) -> None:
        nonlocal state
        for _ in range(num_steps):
            state, loss = compiled(state, images, labels)
        jax.block_until_ready(loss)

    return run_steps, batch_size


def torch(batch_size: int) -> tuple[RunSteps, int]:
    """Returns torchvision's ResNet-50 under torch.compile, channels last, autocast to bfloat16."""
    import torch as framework  # noqa: PLC0415 - an optional peer
    import torchvision  # noqa: PLC0415

    model = torchvision.models.resnet50().cuda().to(memory_format=framework.channels_last)
    optimizer = framework.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, nesterov=True, weight_decay=1e-4)
    images = framework.randint(0, 256, (batch_size, 3, 224, 224), dtype=framework.uint8, device="cuda")
    images = images.to(memory_format=framework.channels_last)
    labels = framework.randint(0, 1000, (batch_size,), device="cuda")

    @framework.compile
    def loss_of(images: "framework.Tensor", labels: "framework.Tensor") -> "framework.Tensor":
        with framework.autocast("cuda", dtype=framework.bfloat16):
            logits = model((images.float() - 118.0) * (1 / 57.0))
        return framework.nn.functional.cross_entropy(logits.float(), labels)

    def run_steps(num_steps: int) -> None:
        for _ in range(num_steps):
            optimizer.zero_grad(set_to_none=True)
            loss_of(images, labels).backward()
            optimizer.step()
        framework.cuda.synchronize()

    return run_steps, batch_size


PEERS = {"flax": flax, "torch": torch}


if __name__ == "__main__":
    main()
