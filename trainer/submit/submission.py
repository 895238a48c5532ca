"""What every submission has in common: a job fitted to a machine, its container, what to upload, what to expect."""

import argparse
import dataclasses
import pathlib

from trainer.submit import catalogue, container, delivery, fit_check, forecast, storage
from trainer.submit.hardware import Hardware
from trainer.submit.training_job import TrainingJob


@dataclasses.dataclass(frozen=True)
class Submission:
    """A job ready to be asked for; `package` is None when the user's image has it."""

    machine: Hardware
    container: container.Container
    package: delivery.Package | None
    notes: tuple[str, ...]

    def deliver(self, project: str) -> None:
        """Uploads the package, if there is one."""
        if self.package is not None:
            storage.upload(storage.connect(project), self.package.path, self.package.uri)


@dataclasses.dataclass(frozen=True)
class Runs:
    """How many times a job runs, and how many of them at once."""

    total: int = 1
    parallel: int = 1


def prepare(
    flags: argparse.Namespace, job: TrainingJob, machine: Hardware, work_dir: pathlib.Path, *, runs: Runs = Runs()
) -> Submission:
    """Fits `job` to `machine` and packs what it needs into `work_dir`.

    Raises:
      UserError: when job and machine do not fit, or the package cannot be built.
    """
    fitted = job.on(machine)
    prices = catalogue.load(flags.tables).prices
    notes = [
        f"machine: {machine.describe()}",
        *forecast.cost_lines(
            machine, prices, max_hours=flags.max_hours, num_runs=runs.total, num_parallel=runs.parallel
        ),
        *fit_check.lines(fitted, machine, _questions(flags)),
    ]
    if flags.image:
        run = container.from_image(flags.image, fitted.arguments())
        return Submission(machine, run, None, tuple(notes))
    package = delivery.pack(work_dir, flags.model_dir)
    run = container.from_package(package.uri, machine.extra, fitted.arguments())
    return Submission(machine, run, package, (*notes, package.describe()))


def _questions(flags: argparse.Namespace) -> fit_check.Questions:
    is_asked = flags.dry_run and not flags.no_preflight
    return fit_check.Questions(is_asked, flags.num_classes, flags.num_train_examples)
