"""`tpu-images submit vertex-tune`: lets Vertex AI look for better settings, in many trials."""

import argparse
import dataclasses
import pathlib
import tempfile
from collections.abc import Sequence

from trainer.commands.arguments import parse_with_settings
from trainer.errors import UserError
from trainer.submit import arguments, submission, training_job, tuning_request, vertex_command
from trainer.submit.hardware import Hardware


def main(argv: Sequence[str]) -> int:
    """Submits a tuning job, or shows what would be submitted; returns the exit status."""
    parser = arguments.parser("submit vertex-tune", "Let Vertex AI vary settings over many trials, towards a metric.")
    arguments.add_vertex_flags(parser)
    _add_study_flags(parser)
    flags, settings = parse_with_settings(parser, argv)
    arguments.check_project_and_paths(flags)
    study = _study(flags)
    # Vertex AI names a directory for each trial (AIP_CHECKPOINT_DIR, under --model_dir), so the job must not.
    job = training_job.TrainingJob(flags.data, "", flags.preset, settings)
    machine = arguments.vertex_hardware(flags)
    for setting in study.tuned:
        _check_every_value(job, setting, machine)
    with tempfile.TemporaryDirectory() as work_dir:
        runs = submission.Runs(study.max_trials, study.parallel_trials)
        plan = submission.prepare(flags, job, machine, pathlib.Path(work_dir), runs=runs)
        request = tuning_request.tuning_job(plan.container, machine, arguments.job_options(flags), study)
        return vertex_command.show_or_send(flags, plan, request)


def _add_study_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--tune",
        action="append",
        default=[],
        metavar="SETTING=VALUES",
        help="setting to vary: 0.01..1, 0.01..1:log, or values separated by commas; may be repeated",
    )
    parser.add_argument("--metric", default="top_1_accuracy", help="evaluation metric to improve (%(default)s)")
    parser.add_argument("--goal", default="maximize", choices=("maximize", "minimize"), help="(%(default)s)")
    parser.add_argument("--algorithm", default="bayesian", choices=tuning_request.ALGORITHMS, help="(%(default)s)")
    parser.add_argument("--max_trials", type=int, default=20, help="trials in all (%(default)s)")
    parser.add_argument("--parallel_trials", type=int, default=2, help="trials at once (%(default)s)")


def _study(flags: argparse.Namespace) -> tuning_request.Study:
    if not flags.tune:
        remedy = "give settings, as in --tune=base_learning_rate=0.01..1:log"
        raise UserError("there is nothing to vary", where="--tune", remedy=remedy)
    return tuning_request.Study(
        tuned=tuple(map(tuning_request.parse_tuned_setting, flags.tune)),
        metric=flags.metric,
        is_maximized=flags.goal == "maximize",
        algorithm=flags.algorithm,
        max_trials=flags.max_trials,
        parallel_trials=flags.parallel_trials,
    )


def _check_every_value(job: training_job.TrainingJob, setting: tuning_request.TunedSetting, machine: Hardware) -> None:
    if setting.name in job.settings:
        remedy = f"leave --{setting.name} or --tune={setting.name} out"
        raise UserError("is both fixed and varied", where=f"--{setting.name}", remedy=remedy)
    for value in setting.values:
        dataclasses.replace(job, settings={**job.settings, setting.name: value}).on(machine)
