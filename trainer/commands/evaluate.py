"""`tpu-images evaluate DATASET --model_dir=DIR --split=test`: measures the latest checkpoint on one split."""

import posixpath
import time
from collections.abc import Mapping, Sequence
from typing import Any

from preprocessing.command_line import CommandParser, folder_to_write
from trainer.commands import evaluation_report, summary
from trainer.commands.tensorflow_loading import load_tensorflow


def main(argv: Sequence[str]) -> int:
    """Evaluates, prints accuracies, classes and confusions, and returns the exit status."""
    arguments = _parser().parse_args(argv)
    load_tensorflow()
    from trainer import experiment as experiments  # noqa: PLC0415 - --help must not wait for TensorFlow
    from trainer import model_directory  # noqa: PLC0415

    experiment = experiments.load(arguments.model_dir)
    dataset = experiments.open_dataset_of(experiment, arguments.dataset)
    num_examples = dataset.info.split(arguments.split, where=dataset.path).num_examples
    results_dir = posixpath.join(arguments.model_dir, f"eval_{arguments.split}")
    if "://" not in results_dir:
        folder_to_write(results_dir)
    started_secs = time.monotonic()
    metrics = experiments.evaluate(experiment, dataset, arguments.split)
    elapsed_secs = time.monotonic() - started_secs
    class_names = experiment.record.class_names
    results_path = posixpath.join(results_dir, "metrics.json")
    model_directory.write_text(results_path, evaluation_report.to_json(metrics, class_names))
    print(evaluation_report.text(metrics, class_names))
    values = {
        "examples": num_examples,
        **_measured(metrics),
        "images_per_sec": num_examples / elapsed_secs,
        "results": results_path,
    }
    summary.show(f"{arguments.split} split of {dataset.path}", values, arguments.summary_file)
    return 0


def _measured(metrics: Mapping[str, Any]) -> dict[str, float]:
    return {
        "accuracy": float(metrics["top_1_accuracy"]),
        **{name: float(metrics[name]) for name in evaluation_report.top_k_names(metrics)},
        "loss": float(metrics["mean_loss"]),
        "global_step": int(metrics["global_step"]),
    }


def _parser() -> CommandParser:
    parser = CommandParser("tpu-images evaluate", "Measure a trained model on every example of one split.")
    parser.add_argument("dataset", metavar="DATASET", nargs="?", help="dataset directory (the one trained on)")
    parser.add_argument("--model_dir", metavar="DIR", required=True, help="the trained model")
    parser.add_argument("--split", default="test", help="split to measure on (%(default)s)")
    summary.add_summary_argument(parser)
    return parser
