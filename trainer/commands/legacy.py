"""`tpu-images legacy SCRIPT.py -- FLAGS`: runs a program written for TensorFlow 1 or TPUEstimator, unmodified."""

from collections.abc import Sequence

from trainer import legacy_arguments
from trainer.commands.tensorflow_loading import load_tensorflow


def main(argv: Sequence[str]) -> int:
    """Runs the program; returns its exit status.

    Raises:
      UserError: there is no such script, or it uses a name that is not provided.
    """
    arguments = legacy_arguments.parse(argv)
    load_tensorflow()
    from trainer.estimator.legacy import command  # noqa: PLC0415 - --help must not wait for TensorFlow

    return command.run(arguments)
