"""`tpu-images submit tpu-vm`: trains on a Cloud TPU virtual machine, queued anew until the training is done."""

import argparse
import pathlib
import tempfile
import time
from typing import Any

from google.cloud import tpu_v2

from trainer.submit import (
    catalogue,
    checks,
    hardware,
    request_text,
    submission,
    tpu_vm_request,
    tpu_vm_service,
    training_job,
)
from trainer.submit.vertex_follow import JOB_FAILED_EXIT_STATUS


def run(flags: argparse.Namespace, settings: dict[str, Any]) -> int:
    """Runs a training on a Cloud TPU to its end, or shows what would be asked for; returns the exit status."""
    checks.require_project(flags.project)
    checks.require_cloud_path(flags.data, "--data")
    checks.require_cloud_path(flags.model_dir, "--model_dir")
    machine = hardware.tpu_vm(catalogue.load(flags.tables), flags.tpu_type, zone=flags.zone, is_spot=flags.spot)
    job = training_job.TrainingJob(flags.data, flags.model_dir, flags.preset, settings)
    options = _options(flags)
    with tempfile.TemporaryDirectory() as work_dir:
        plan = submission.prepare(flags, job, machine, pathlib.Path(work_dir))
        request = tpu_vm_request.queued_resource(plan.container, machine, options)
        if flags.dry_run:
            method = (
                f"POST https://{tpu_vm_service.ENDPOINT}/v2/{options.parent}/queuedResources"
                f"?queuedResourceId={options.name}"
            )
            print(request_text.render([request_text.Request(method, request)], plan.notes, form=flags.format))
            return 0
        print(*plan.notes, sep="\n")
        plan.deliver(flags.project)
    return _follow(request, options)


def _options(flags: argparse.Namespace) -> tpu_vm_request.TpuVmOptions:
    name = flags.name or f"tpu-images-{flags.preset.replace('_', '-') or 'train'}-{time.strftime('%Y%m%d-%H%M%S')}"
    return tpu_vm_request.TpuVmOptions(
        project=flags.project,
        zone=flags.zone,
        name=name,
        output_dir=flags.model_dir,
        max_hours=flags.max_hours,
        is_spot=flags.spot,
        service_account=flags.service_account,
        network=flags.vpc_network,
        labels=checks.parse_labels(flags.label),
    )


def _follow(request: tpu_v2.QueuedResource, options: tpu_vm_request.TpuVmOptions) -> int:
    services = tpu_vm_service.connect(options.project)
    try:
        outcome = tpu_vm_service.run_until_done(services, request, options, _report)
    except KeyboardInterrupt:
        print(f"no longer following; the TPU goes on. The same command with --name={options.name} follows again")
        print(f"to stop it: gcloud compute tpus queued-resources delete {options.name} --zone={options.zone} --force")
        raise
    if outcome.exit_status == 0:
        print(f"trained: {options.output_dir}")
        return 0
    reason = outcome.stop_reason or f"it ended with status {outcome.exit_status}"
    print(f"the training did not finish ({reason}); its log: {options.log_uri}")
    return JOB_FAILED_EXIT_STATUS


def _report(line: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {line}", flush=True)
