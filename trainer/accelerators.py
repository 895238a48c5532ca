"""Which accelerator this machine has, found by its device files: starting JAX to ask takes seconds, and locks a TPU."""

import dataclasses
import glob
import importlib.util

from trainer.config import LoopConfig
from trainer.errors import UserError

# Device files of the drivers, by accelerator, in order of preference.
_DEVICE_FILES = {"TPU": ("/dev/accel[0-9]*", "/dev/vfio/[0-9]*"), "GPU": ("/dev/nvidia[0-9]*", "/dev/kfd")}


@dataclasses.dataclass(frozen=True)
class DeviceChoice:
    """What runs the steps: `use_tpu` and `master` as TPUEstimator takes them, and why, in a few words."""

    use_tpu: bool
    master: str
    reason: str

    def describe(self, devices: str) -> str:
        """Returns one line: the engine, the `devices` that it found (number and kind), and why it was chosen."""
        return f"engine: {'pjrt' if self.use_tpu else 'tf'}, {devices}, {self.reason}"


def found() -> str | None:
    """Returns "TPU" or "GPU", whichever this machine has first; None on a machine with CPUs alone."""
    for name, patterns in _DEVICE_FILES.items():
        if any(glob.glob(pattern) for pattern in patterns):
            return name
    return None


def choose(loop: LoopConfig) -> DeviceChoice:
    """Chooses the engine that the configuration asks for; `auto` prefers a TPU, then a GPU, then the CPU.

    Raises:
      UserError: the TensorFlow engine is asked to run on a TPU.
    """
    if loop.engine == "tf":
        if loop.tpu:
            raise UserError(
                "the tf engine cannot run on a TPU",
                where=f"--engine=tf --tpu={loop.tpu}",
                remedy="leave one of them out",
            )
        return DeviceChoice(False, "", "as --engine=tf asks")
    if loop.engine == "pjrt" or loop.tpu:
        asked = f"--tpu={loop.tpu}" if loop.tpu else "--engine=pjrt"
        return DeviceChoice(True, loop.tpu, f"as {asked} asks")
    return _automatic()


def _automatic() -> DeviceChoice:
    accelerator = found()
    if accelerator is None:
        return DeviceChoice(False, "", "as no TPU and no GPU was found")
    if importlib.util.find_spec("jax") is None:
        return DeviceChoice(False, "", f"as JAX is not installed, which the {accelerator} here needs")
    return DeviceChoice(True, "local" if accelerator == "TPU" else "gpu", f"as a {accelerator} was found")
