"""Writes our training step for one replica of `--num_replicas`: `python -m benchmarks.gpu_step.export DIRECTORY`.

Settings of the configuration may follow, such as `--batch_norm_from_inputs=false`.
"""

import argparse
import dataclasses
import json
import pathlib

from benchmarks.gpu_step.carried_step import PROGRAM_FILE, STEP_FILE, CarriedStep
from trainer import presets
from trainer.config import parse_overrides
from trainer.preflight import image_training

_PRESET = "imagenet_resnet50"


def main() -> None:
    """Lowers the step and writes it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("directory", type=pathlib.Path)
    parser.add_argument("--per_replica_batch_size", type=int, default=256)
    parser.add_argument("--num_replicas", type=int, default=1)
    arguments, settings = parser.parse_known_args()
    config = presets.get(_PRESET).config.replace(
        global_batch_size=arguments.per_replica_batch_size * arguments.num_replicas, **parse_overrides(settings)
    )
    workload = image_training.image_workload(config, num_classes=1000, num_train_examples=1_281_167)
    step = workload.step.lower(arguments.per_replica_batch_size, arguments.num_replicas)
    carried = CarriedStep(
        num_replicas=arguments.num_replicas,
        num_batch_inputs=step.interface.num_batch_inputs,
        is_per_replica=step.interface.is_per_replica,
        variable_names=step.variable_names,
    )
    arguments.directory.mkdir(parents=True, exist_ok=True)
    (arguments.directory / PROGRAM_FILE).write_bytes(step.program.portable_bytes)
    (arguments.directory / STEP_FILE).write_text(json.dumps(dataclasses.asdict(carried)))


if __name__ == "__main__":
    main()
