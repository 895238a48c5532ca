"""`tpu-images networks`: lists the networks with their parameters and flops, counted by building each."""

from collections.abc import Sequence

from preprocessing.command_line import CommandParser
from trainer.commands import terminal
from trainer.commands.tensorflow_loading import load_tensorflow


def main(argv: Sequence[str]) -> int:
    """Prints the model table; returns the exit status."""
    CommandParser(
        "tpu-images networks", "List the networks, with parameters and flops of one image forward."
    ).parse_args(argv)
    load_tensorflow()
    from trainer.models import registry  # noqa: PLC0415 - --help must not wait for TensorFlow

    header = ("network", "family", "depth", "image size", "classes", "parameters", "GFLOPs")
    rows = [
        (row.name, row.family, row.depth, row.image_size, row.num_classes, row.num_parameters, f"{row.gflops:.3f}")
        for row in registry.table()
    ]
    print(terminal.table(header, rows))
    return 0
