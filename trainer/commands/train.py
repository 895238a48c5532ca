"""`tpu-images train DATASET --model_dir=DIR`: trains, or goes on training, and evaluates as it goes."""

import contextlib
import functools
import os
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from preprocessing.command_line import CommandParser, file_to_write
from trainer import cloud_environment, config
from trainer.commands import evaluation_report, summary
from trainer.commands.arguments import (
    experiment_config,
    format_value,
    parse_with_settings,
    settings_help,
)
from trainer.commands.tensorflow_loading import load_tensorflow
from trainer.errors import UserError

if TYPE_CHECKING:
    from trainer.data.records import DatasetDirectory
    from trainer.experiment import Experiment


def main(argv: Sequence[str]) -> int:
    """Trains to the end and returns the exit status."""
    arguments, overrides = parse_with_settings(_parser(), argv)
    cloud = cloud_environment.read(os.environ)
    model_dir = arguments.model_dir or cloud.checkpoint_dir
    if not model_dir:
        raise UserError("is missing", where="--model_dir", remedy="say where the model is to live")
    if arguments.summary_file:
        file_to_write(arguments.summary_file, made_folder=model_dir)
    wanted = experiment_config(arguments.preset, overrides)
    load_tensorflow()
    from trainer import experiment as experiments  # noqa: PLC0415 - --help must not wait for TensorFlow
    from trainer.data import records  # noqa: PLC0415

    dataset = records.open_dataset(arguments.dataset)
    experiment = experiments.plan(dataset, model_dir, wanted)
    print(describe_config(wanted), flush=True)
    metrics, speed = _train(experiment, dataset, cloud.tensorboard_dir)
    cloud_environment.report_metrics(cloud, _scalars(metrics), experiment.num_train_steps)
    print("\n" + evaluation_report.text(metrics, experiment.record.class_names))
    _tell_if_nothing_was_trained(experiment, int(metrics["global_step"]))
    if cloud.export_dir:
        print(f"\nexported to {experiments.export(experiment, dataset, cloud.export_dir).export_dir}")
    summary.show(f"trained on {arguments.dataset}", _summary(experiment, metrics, speed), arguments.summary_file)
    return 0


def _tell_if_nothing_was_trained(experiment: "Experiment", reached_step: int) -> None:
    if reached_step > experiment.num_train_steps:
        epochs = format_value(experiment.config.loop.train_epochs)
        print(f"\nnothing to train: step {reached_step:,} was reached before; --train_epochs={epochs} ends earlier")


def _summary(
    experiment: "Experiment", metrics: Mapping[str, Any], speed: Mapping[str, float | None]
) -> Mapping[str, Any]:
    return {
        "steps": int(metrics["global_step"]),
        "split": experiment.config.input.eval_split,
        "accuracy": float(metrics["top_1_accuracy"]),
        **speed,
        "model_dir": experiment.model_dir,
    }


def _train(
    experiment: "Experiment", dataset: "DatasetDirectory", tensorboard_dir: str
) -> tuple[Mapping[str, Any], dict[str, float | None]]:
    """Trains while showing how far it is; returns the metrics of the last evaluation, and how fast it went."""
    from trainer import experiment as experiments  # noqa: PLC0415
    from trainer.commands.cloud_events import CloudEvents  # noqa: PLC0415
    from trainer.commands.sole_training import alone_in  # noqa: PLC0415
    from trainer.commands.training_progress import TrainingProgress  # noqa: PLC0415

    progress = TrainingProgress(experiment)
    watchers = [progress, *([CloudEvents(tensorboard_dir)] if tensorboard_dir else [])]

    def show_evaluation(_: int, metrics: Mapping[str, Any]) -> None:
        for watcher in watchers:
            watcher.show_evaluation(int(metrics["global_step"]), metrics)

    started_secs = time.monotonic()
    with contextlib.ExitStack() as stack:
        for watcher in watchers:
            stack.callback(watcher.close)
        stack.enter_context(alone_in(experiment.model_dir))
        metrics = experiments.train_and_evaluate(
            experiment,
            dataset,
            hooks=watchers,
            on_evaluation=show_evaluation,
            announce=functools.partial(print, flush=True),
        )
    return metrics, {
        "elapsed_secs": time.monotonic() - started_secs,
        "images_per_sec": progress.mean_images_per_sec,
    }


def _parser() -> CommandParser:
    parser = CommandParser(
        "tpu-images train", "Train on a dataset directory, evaluating as it goes.", epilog=settings_help()
    )
    parser.add_argument("dataset", metavar="DATASET", help="dataset directory, as `convert` wrote it")
    parser.add_argument("--model_dir", metavar="DIR", help="where the model lives; continued if it is there")
    parser.add_argument("--preset", metavar="NAME", help="configuration to start from: tpu-images presets")
    summary.add_summary_argument(parser, check=str)  # checked when the model_dir is known
    return parser


def describe_config(shown: config.ExperimentConfig) -> str:
    """Returns every setting, section by section; `*` marks those that differ from their default."""
    changed = {name for name, field in config.settings().items() if shown.flat()[name] != field.default}
    words = [
        f"{'*' if name in changed else ' '} {name} = {format_value(value)}" for name, value in shown.flat().items()
    ]
    half = (len(words) + 1) // 2
    columns = zip(words[:half], [*words[half:], ""][:half], strict=True)
    return "\n".join(
        ["configuration (* not the default):", *(f"{left:<44}{right}".rstrip() for left, right in columns)]
    )


def _scalars(metrics: Mapping[str, Any]) -> dict[str, float]:
    return {name: float(value) for name, value in metrics.items() if getattr(value, "ndim", 0) == 0}
