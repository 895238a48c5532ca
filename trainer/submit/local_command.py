"""`tpu-images submit local`: packs, installs and trains here as the cloud would, so that its mistakes show at home."""

import pathlib
import shlex
import tempfile
from collections.abc import Sequence

from preprocessing import distribution
from trainer.commands.arguments import CommandParser, parse_with_settings, settings_help
from trainer.submit import local_run, training_job


def main(argv: Sequence[str]) -> int:
    """Runs a job in a clean environment, or shows how it would be run; returns the trainer's exit status."""
    flags, settings = parse_with_settings(_parser(), argv)
    data = flags.data if "://" in flags.data else str(pathlib.Path(flags.data).resolve())
    job = training_job.TrainingJob(data, "", flags.preset, settings)
    if flags.dry_run:
        variables = local_run.vertex_variables(flags.base_dir or "BASE_DIR")
        print(*(f"{name}={shlex.quote(value)}" for name, value in variables.items()), sep="\n")
        print("python -m trainer.task", shlex.join(job.arguments()))
        return 0
    return _run(job, flags.base_dir or tempfile.mkdtemp(prefix="tpu-images-local-"), flags.share_libraries)


def _run(job: training_job.TrainingJob, base_dir: str, is_sharing_libraries: bool) -> int:
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


def _parser() -> CommandParser:
    description = "Pack, install in a clean virtual environment, and train on this machine as Vertex AI would."
    parser = CommandParser("submit local", description, epilog=settings_help())
    parser.add_argument("--data", required=True, help="dataset directory")
    parser.add_argument("--preset", default="", help="ready configuration (tpu-images presets)")
    parser.add_argument(
        "--base_dir", default="", help="where checkpoints, logs and model go; by default a new directory"
    )
    parser.add_argument(
        "--share_libraries",
        action="store_true",
        help="install our package alone, beside the libraries of this environment",
    )
    parser.add_argument("--dry_run", action="store_true", help="show variables and command; run nothing")
    return parser
