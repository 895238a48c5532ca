"""Asks the real TPU compiler, at home, whether the training step fits the TPU that a job is for (trainer.preflight)."""

import dataclasses
import importlib.util
from collections.abc import Sequence
from typing import TYPE_CHECKING

from trainer.commands.tensorflow_loading import load_tensorflow
from trainer.commands.terminal import ProgressLine, format_duration
from trainer.errors import UserError
from trainer.submit.hardware import Hardware
from trainer.submit.training_job import TrainingJob

if TYPE_CHECKING:
    from trainer.preflight.preflight import CompiledFigures, Verdict

# What compiling at home takes; whoever only sends jobs need not have it.
_COMPILING_PACKAGES = ("tensorflow", "jax", "libtpu")
# Stands in where nobody says how many examples there are: memory and time per step do not depend on it.
_ANY_NUM_EXAMPLES = 1_281_167


@dataclasses.dataclass(frozen=True)
class Questions:
    """What to find out; the data itself is out of reach of a dry run. `num_train_examples` is 0 when not known."""

    is_asked: bool
    num_classes: int
    num_train_examples: int


def lines(job: TrainingJob, machine: Hardware, questions: Questions) -> Sequence[str]:
    """Returns what the compiler says of the job's step on this TPU, or why it was not asked.

    Raises:
      UserError: when the step does not fit the TPU, or does not run on one.
    """
    if not machine.tpu_type:
        return ["preflight: skipped, it knows TPUs only"]
    if not questions.is_asked:
        return ["preflight: skipped, ask with --dry_run and without --no_preflight"]
    missing = [name for name in _COMPILING_PACKAGES if importlib.util.find_spec(name) is None]
    if missing:
        return [f"preflight: skipped without {', '.join(missing)}; pip install 'tpu-images[cpu,preflight]'"]
    verdict = _verdict(job, machine, questions)
    if verdict.figures is None:
        remedy = "try a smaller --global_batch_size, or a larger slice"
        raise UserError(f"preflight: {verdict.problem}", where=f"--tpu_type={machine.tpu_type}", remedy=remedy)
    return _describe(verdict.figures, verdict.per_replica_batch_size, machine, questions)


def _verdict(job: TrainingJob, machine: Hardware, questions: Questions) -> "Verdict":
    load_tensorflow()
    from trainer.preflight import image_training, preflight  # noqa: PLC0415 - loads TensorFlow and JAX

    num_examples = questions.num_train_examples or _ANY_NUM_EXAMPLES
    workload = image_training.image_workload(
        job.config, num_classes=questions.num_classes, num_train_examples=num_examples
    )
    progress = ProgressLine()

    def show(name: str, elapsed_secs: float) -> None:
        progress.show(f"preflight: compiling for {name}: {format_duration(elapsed_secs)}")

    try:
        (verdict,) = preflight.preflight(workload, [machine.tpu_type], preflight.Options(progress=show))
    finally:
        progress.close()
    return verdict


def _describe(
    figures: "CompiledFigures", per_replica_batch_size: int, machine: Hardware, questions: Questions
) -> Sequence[str]:
    needed, available = figures.memory.needed_bytes / 2**30, figures.memory.available_bytes / 2**30
    described = [
        f"preflight: compiles and fits: {needed:.2f} of {available:.2f} GiB on each device, for its"
        f" {per_replica_batch_size} examples of a step"
    ]
    if not figures.is_rate_predictable:
        return [*described, "           speed: not predictable, starting so short a step takes longer than running it"]
    slow, fast = figures.images_per_sec
    described.append(f"           {slow:,.0f} to {fast:,.0f} images/s in all (an estimate)")
    if not questions.num_train_examples:
        return [*described, "           hours: unknown without --num_train_examples"]
    short, long = figures.cost.hours
    dollars = machine.dollars_per_hour
    price = "" if dollars is None else f", ${short * dollars:,.2f} to ${long * dollars:,.2f}"
    return [*described, f"           {short:,.2f} to {long:,.2f} hours for all epochs{price} (an estimate)"]
