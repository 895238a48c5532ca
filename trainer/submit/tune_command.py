"""`tpu-images submit vertex-tune`: lets Vertex AI look for better settings, in many trials."""

import argparse
import dataclasses
import pathlib
import tempfile
from typing import Any

from trainer.errors import UserError
from trainer.submit import submission, training_job, tuning_request, vertex_command
from trainer.submit.hardware import Hardware


def run(flags: argparse.Namespace, settings: dict[str, Any]) -> int:
    """Submits a tuning job, or shows what would be submitted; returns the exit status."""
    vertex_command.check_flags(flags)
    options = vertex_command.job_options(flags)
    study = _study(flags)
    # Vertex AI names a directory for each trial (AIP_CHECKPOINT_DIR, under --model_dir), so the job must not.
    job = training_job.TrainingJob(flags.data, "", flags.preset, settings)
    _check_metric(study, job.config.loop.top_k, flags.num_classes)
    machine = vertex_command.choose_machine(flags)
    for setting in study.tuned:
        _check_every_value(job, setting, machine)
    with tempfile.TemporaryDirectory() as work_dir:
        runs = submission.Runs(study.max_trials, study.parallel_trials)
        plan = submission.prepare(flags, job, machine, pathlib.Path(work_dir), runs=runs)
        request = tuning_request.tuning_job(plan.container, machine, options, study)
        return vertex_command.show_or_send(flags, plan, request)


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


def _check_metric(study: tuning_request.Study, top_k: int, num_classes: int) -> None:
    """Raises UserError for an accuracy that no trial reports: the study would end without a best one."""
    measured = ("top_1_accuracy", f"top_{min(top_k, num_classes)}_accuracy", "mean_loss", "loss")
    if study.metric in measured or any(setting.name == "top_k" for setting in study.tuned):
        return
    what = f"is not measured with --top_k={top_k} and --num_classes={num_classes}"
    raise UserError(what, where=f"--metric={study.metric}", remedy=f"give {', '.join(dict.fromkeys(measured))}")


def _check_every_value(job: training_job.TrainingJob, setting: tuning_request.TunedSetting, machine: Hardware) -> None:
    if setting.name in job.settings:
        remedy = f"leave --{setting.name} or --tune={setting.name} out"
        raise UserError("is both fixed and varied", where=f"--{setting.name}", remedy=remedy)
    for value in setting.values:
        dataclasses.replace(job, settings={**job.settings, setting.name: value}).on(machine)
