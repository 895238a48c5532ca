"""`tpu-images submit vertex`: trains as a custom job of Vertex AI."""

import argparse
import pathlib
import tempfile
from collections.abc import Sequence

from trainer.commands.arguments import parse_with_settings
from trainer.submit import (
    arguments,
    cloud_logging,
    request_text,
    submission,
    training_job,
    vertex_follow,
    vertex_request,
    vertex_service,
)


def main(argv: Sequence[str]) -> int:
    """Submits a training run, or shows what would be submitted; returns the exit status."""
    parser = arguments.parser("submit vertex", "Train on Vertex AI: TPU slices, GPUs or CPUs, paid by the second.")
    arguments.add_vertex_flags(parser)
    flags, settings = parse_with_settings(parser, argv)
    arguments.check_project_and_paths(flags)
    job = training_job.TrainingJob(flags.data, flags.model_dir, flags.preset, settings)
    with tempfile.TemporaryDirectory() as work_dir:
        plan = submission.prepare(flags, job, arguments.vertex_hardware(flags), pathlib.Path(work_dir))
        request = vertex_request.custom_job(plan.container, plan.machine, arguments.job_options(flags))
        return show_or_send(flags, plan, request)


def show_or_send(flags: argparse.Namespace, plan: submission.Submission, request: vertex_service.Job) -> int:
    """Shows the request of a dry run; else uploads the package, creates the job and, if wanted, follows it."""
    parent = vertex_service.parent(flags.project, flags.region)
    if flags.dry_run:
        method = (
            f"POST https://{vertex_service.endpoint(flags.region)}/v1/{parent}/{vertex_service.collection(request)}"
        )
        print(request_text.render([request_text.Request(method, request)], plan.notes, form=flags.format))
        return 0
    print(*plan.notes, sep="\n")
    plan.deliver(flags.project)
    client = vertex_service.job_client(flags.region)
    created = vertex_service.create_job(client, parent, request)
    print(f"submitted: {created.name}")
    print(f"console:   {vertex_service.console_url(created)}")
    if not flags.wait:
        return 0
    log = cloud_logging.JobLog(flags.project, created.name.rpartition("/")[2])
    return vertex_follow.follow(lambda: vertex_service.get_job(client, created), log)
