"""`tpu-images submit vertex`: trains as a custom job of Vertex AI."""

import pathlib
import tempfile
from collections.abc import Sequence

from trainer.commands.arguments import parse_with_settings
from trainer.submit import (
    arguments,
    catalogue,
    container,
    delivery,
    forecast,
    request_text,
    training_job,
    vertex_request,
)


def main(argv: Sequence[str]) -> int:
    """Submits a training run, or shows what would be submitted; returns the exit status."""
    parser = arguments.parser("submit vertex", "Train on Vertex AI: TPU slices, GPUs or CPUs, paid by the second.")
    arguments.add_vertex_flags(parser)
    flags, settings = parse_with_settings(parser, argv)
    arguments.check_project(flags.project)
    for path, flag in ((flags.data, "--data="), (flags.model_dir, "--model_dir=")):
        training_job.check_cloud_path(path, flag)
    machine = arguments.vertex_hardware(flags)
    job = training_job.TrainingJob(flags.data, flags.model_dir, flags.preset, settings).on(machine)
    options = arguments.job_options(flags)
    tables = catalogue.load(flags.tables)
    notes = [
        f"machine: {machine.describe()}",
        *forecast.cost_lines(machine, tables.prices, max_hours=options.max_hours),
    ]
    with tempfile.TemporaryDirectory() as work_dir:
        if flags.image:
            run = container.from_image(flags.image, job.arguments())
        else:
            package = delivery.pack(pathlib.Path(work_dir), flags.model_dir)
            notes.append(package.describe())
            run = container.from_package(package.uri, machine.extra, job.arguments())
        request = vertex_request.custom_job(run, machine, options)
        method = f"POST https://{flags.region}-aiplatform.googleapis.com/v1/projects/{flags.project}/locations/{flags.region}/customJobs"
        print(request_text.render(method, request, notes, form=flags.format))
    return 0
