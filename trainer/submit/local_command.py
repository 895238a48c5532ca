"""`tpu-images submit local`: packs, installs and trains here as the cloud would, so that its mistakes show at home."""

import argparse
import pathlib
import shlex
import tempfile
from typing import Any

from preprocessing import distribution, schema
from trainer.errors import UserError
from trainer.submit import local_run, training_job


def run(flags: argparse.Namespace, settings: dict[str, Any]) -> int:
    """Runs a job in a clean environment, or shows how it would be run; returns the trainer's exit status."""
    data = flags.data if "://" in flags.data else str(pathlib.Path(flags.data).resolve())
    job = training_job.TrainingJob(data, "", flags.preset, settings)
    if flags.dry_run:
        variables = local_run.vertex_variables(flags.base_dir or "BASE_DIR")
        print(*(f"{name}={shlex.quote(value)}" for name, value in variables.items()), sep="\n")
        print("python -m trainer.task", shlex.join(job.arguments()))
        return 0
    if "://" not in data and not pathlib.Path(data, schema.DATASET_INFO_FILE).is_file():
        remedy = "give the directory that `convert` wrote"
        raise UserError(f"has no {schema.DATASET_INFO_FILE}", where=f"--data={flags.data}", remedy=remedy)
    return _run_job(job, flags.base_dir or tempfile.mkdtemp(prefix="tpu-images-local-"), flags.share_libraries)


def _run_job(job: training_job.TrainingJob, base_dir: str, is_sharing_libraries: bool) -> int:
    base_path = pathlib.Path(base_dir).resolve()
    with tempfile.TemporaryDirectory(prefix="tpu-images-") as work_dir:
        package = distribution.build(pathlib.Path(work_dir))
        print(f"packed:    {package.name}; installing it in a clean environment", flush=True)
        environment = local_run.create(
            pathlib.Path(work_dir, "environment"), package, is_sharing_libraries=is_sharing_libraries
        )
        print(f"runs:      python -m trainer.task {shlex.join(job.arguments())}", flush=True)
        status = local_run.run_trainer(environment, job.arguments(), local_run.vertex_variables(str(base_path)))
    print(f"ended with status {status}; its files: {base_path}")
    return status
