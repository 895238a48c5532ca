"""`tpu-images export --model_dir=DIR`: writes a SavedModel that takes raw image bytes, once it is proven right."""

import os
import posixpath
from collections.abc import Sequence

from preprocessing.command_line import CommandParser
from trainer import cloud_environment
from trainer.commands import summary
from trainer.commands.tensorflow_loading import load_tensorflow


def main(argv: Sequence[str]) -> int:
    """Exports the latest checkpoint and returns the exit status."""
    arguments = _parser().parse_args(argv)
    load_tensorflow()
    from trainer import experiment as experiments  # noqa: PLC0415 - --help must not wait for TensorFlow
    from trainer import model_directory  # noqa: PLC0415

    experiment = experiments.load(arguments.model_dir)
    dataset = experiments.open_dataset_of(experiment, arguments.dataset)
    in_cloud = cloud_environment.read(os.environ).export_dir
    base_dir = arguments.export_dir or in_cloud or posixpath.join(arguments.model_dir, model_directory.EXPORT_DIR)
    published = experiments.export(experiment, dataset, base_dir)
    summary.show(
        "exported",
        {
            "export_dir": published.export_dir,
            "signature": "serving_default: image_bytes (string) -> classes, class_index, probabilities",
            "largest_difference_from_the_live_model": published.max_difference,
        },
        arguments.summary_file,
    )
    return 0


def _parser() -> CommandParser:
    parser = CommandParser(
        "tpu-images export", "Write a SavedModel that takes raw image bytes, checked against the live model."
    )
    parser.add_argument("--model_dir", metavar="DIR", required=True, help="the trained model")
    parser.add_argument("--export_dir", metavar="DIR", help="where versions go (MODEL_DIR/export)")
    parser.add_argument("--dataset", metavar="DATASET", help="images to check it on (the dataset trained on)")
    summary.add_summary_argument(parser)
    return parser
