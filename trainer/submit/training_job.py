"""What is to be trained, checked before anything is sent, and the words that the trainer is started with there."""

import dataclasses
import functools
import importlib.util
from collections.abc import Mapping
from typing import Any

from trainer import config, presets
from trainer.commands.tensorflow_loading import load_tensorflow
from trainer.errors import UserError
from trainer.submit import hardware


@dataclasses.dataclass(frozen=True)
class TrainingJob:
    """One training run; raises UserError on an unknown preset or a value out of range.

    `settings` holds what the user changed on top of the preset, with typed values; `model_dir` is empty when the cloud
    names one for each trial.
    """

    data: str
    model_dir: str
    preset: str
    settings: Mapping[str, Any]

    def __post_init__(self):
        _ = self.config  # refuses what does not exist or is out of range

    @functools.cached_property
    def config(self) -> config.ExperimentConfig:
        """The preset with the settings on top."""
        start = presets.get(self.preset).config if self.preset else config.ExperimentConfig()
        return start.replace(**self.settings)

    def arguments(self) -> tuple[str, ...]:
        """Returns the words after `python -m trainer.task`."""
        words = ["train", self.data]
        words += [f"--model_dir={self.model_dir}"] if self.model_dir else []
        words += [f"--preset={self.preset}"] if self.preset else []
        return (*words, *(f"--{name}={_format(value)}" for name, value in self.settings.items()))

    def on(self, machine: hardware.Hardware) -> "TrainingJob":
        """Returns the job with the settings that make it use this machine.

        Raises:
          UserError: when there is no such network, the batches do not divide among the replicas, the slice has several
            hosts, or the job asks for a pretend TPU.
        """
        _check_network(self.config.model.network)
        _check_one_host(machine)
        if self.config.loop.tpu.startswith("mock"):
            raise UserError("pretends a TPU", where=f"--tpu={self.config.loop.tpu}", remedy="leave it out in the cloud")
        loop = self.config.loop
        sizes = [(name, getattr(loop, name)) for name in ("global_batch_size", "eval_global_batch_size")]
        hardware.check_batch_sizes(machine, sizes)
        device = {"tpu": "local"} if machine.tpu_type else {"engine": "pjrt"} if machine.num_replicas > 1 else {}
        return dataclasses.replace(self, settings={**device, **self.settings})


def _check_network(name: str) -> None:
    if importlib.util.find_spec("tensorflow") is None:  # whoever only sends jobs need not have it
        return
    load_tensorflow()
    from trainer.models import registry  # noqa: PLC0415 - loads TensorFlow

    registry.entry(name)


def _check_one_host(machine: hardware.Hardware) -> None:
    # A process that starts on one host of a larger slice waits for the others for ever, and is paid for meanwhile.
    if machine.num_hosts > 1:
        raise UserError(
            f"is a slice of {machine.num_hosts} hosts, and the engines drive the chips of one",
            where=f"--tpu_type={machine.tpu_type}",
            remedy="use one host: up to 2x4 of v5e and v6e, up to 4 chips of the others",
        )


def _format(value: Any) -> str:
    if isinstance(value, tuple):
        return ",".join(map(_format, value))
    return str(value).lower() if isinstance(value, bool) else str(value)
