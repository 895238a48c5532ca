"""`tpu-images predict IMAGES... --export_dir=DIR`: classifies image files with an export or the latest checkpoint."""

import argparse
import time
from collections.abc import Callable, Sequence
from typing import Any

from preprocessing.command_line import CommandParser, file_to_write, write_file
from trainer.commands import summary, terminal
from trainer.commands.tensorflow_loading import load_tensorflow
from trainer.errors import UserError

_BATCH_SIZE = 32
_NUM_RANKED = 5


def main(argv: Sequence[str]) -> int:
    """Prints a table, writes it to a file when asked to; exit status 1 when an image could not be classified."""
    arguments = _parser().parse_args(argv)
    if bool(arguments.model_dir) == bool(arguments.export_dir):
        raise UserError("which model?", where="predict", remedy="give one of --export_dir and --model_dir")
    load_tensorflow()
    from trainer.export import predictions  # noqa: PLC0415 - --help must not wait for TensorFlow

    if arguments.output:
        predictions.check_output_path(arguments.output)
    classify, class_names = _model(arguments)
    started_secs = time.monotonic()
    found = list(predictions.predict_files(arguments.images, classify, class_names, _BATCH_SIZE, _NUM_RANKED))
    elapsed_secs = time.monotonic() - started_secs
    print(_table(found))
    if arguments.output:
        write_file(arguments.output, predictions.to_text(found, arguments.output))
    num_failed = sum(bool(prediction.error) for prediction in found)
    values = {
        "images": len(found),
        "failed": num_failed,
        "images_per_sec": len(found) / elapsed_secs,
        "output": arguments.output or "",
    }
    summary.show("predicted", values, arguments.summary_file)
    return 1 if num_failed else 0


def _parser() -> CommandParser:
    parser = CommandParser("tpu-images predict", "Classify image files.")
    parser.add_argument("images", metavar="IMAGES", nargs="+", help="image files, local or gs://")
    parser.add_argument("--export_dir", metavar="DIR", help="an export, or the folder that holds its versions")
    parser.add_argument("--model_dir", metavar="DIR", help="a trained model: its latest checkpoint predicts")
    parser.add_argument("--output", metavar="FILE", type=file_to_write, help="also write a .csv or .jsonl file")
    summary.add_summary_argument(parser)
    return parser


def _model(arguments: argparse.Namespace) -> tuple[Callable[..., Any], Sequence[str]]:
    """Returns the function that classifies encoded images, and the names of the classes."""
    from trainer import experiment as experiments  # noqa: PLC0415
    from trainer.export import publish, serving  # noqa: PLC0415

    if arguments.export_dir:
        export_dir = publish.latest_version(arguments.export_dir)
        return serving.ExportedClassifier(export_dir), publish.read_labels(export_dir)
    experiment = experiments.load(arguments.model_dir)
    return experiments.live_classifier(experiment), experiment.record.class_names


def _table(found: Sequence[Any]) -> str:
    rows = []
    for prediction in found:
        names = [f"{name} {probability:.1%}" for name, probability in prediction.ranked[:2]]
        first, second = [*names, "", ""][:2]
        rows.append((prediction.path, first or prediction.error, second))
    return terminal.table(("image", "class", "runner-up"), rows)
