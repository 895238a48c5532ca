"""`tpu-images submit vertex`: trains as a custom job of Vertex AI."""

import argparse
import pathlib
import tempfile
from typing import Any

from trainer.errors import UserError
from trainer.submit import (
    catalogue,
    checks,
    cloud_logging,
    hardware,
    request_text,
    submission,
    training_job,
    vertex_follow,
    vertex_request,
    vertex_service,
)


def run(flags: argparse.Namespace, settings: dict[str, Any]) -> int:
    """Submits a training run, or shows what would be submitted; returns the exit status."""
    check_flags(flags)
    options = job_options(flags)
    job = training_job.TrainingJob(flags.data, flags.model_dir, flags.preset, settings)
    with tempfile.TemporaryDirectory() as work_dir:
        plan = submission.prepare(flags, job, choose_machine(flags), pathlib.Path(work_dir))
        return show_or_send(flags, plan, vertex_request.custom_job(plan.container, plan.machine, options))


def check_flags(flags: argparse.Namespace) -> None:
    """Refuses a submission without a project, or with files that the cloud cannot reach."""
    checks.require_project(flags.project)
    checks.require_cloud_path(flags.data, "--data")
    checks.require_cloud_path(flags.model_dir, "--model_dir")


def choose_machine(flags: argparse.Namespace) -> hardware.Hardware:
    """Returns the Vertex AI machine that the flags name."""
    tables = catalogue.load(flags.tables)
    if flags.tpu_type:
        if flags.gpu:
            raise UserError("a TPU machine has no GPUs", where=f"--gpu={flags.gpu}", remedy="leave one out")
        return hardware.vertex_tpu(
            tables, flags.tpu_type, region=flags.region, machine_type=flags.machine_type, is_spot=flags.spot
        )
    if not flags.machine_type:
        remedy = "give --tpu_type=v5e:2x4, or --machine_type=g2-standard-8 and the like"
        raise UserError("is needed", where="--tpu_type or --machine_type", remedy=remedy)
    return hardware.vertex_machine(tables, flags.machine_type, region=flags.region, gpu=flags.gpu)


def job_options(flags: argparse.Namespace) -> vertex_request.JobOptions:
    """Returns how the flags want the job to be run."""
    return vertex_request.JobOptions(
        display_name=flags.name or f"tpu-images-{flags.preset or 'train'}",
        output_dir=flags.model_dir,
        max_hours=flags.max_hours,
        is_spot=flags.spot,
        service_account=flags.service_account,
        network=flags.vpc_network,
        tensorboard=flags.tensorboard,
        labels={**checks.parse_labels(flags.label), **vertex_service.new_submission_label()},
    )


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
