"""`tf.logging.set_verbosity`: how much a program's own lines and those of the Estimator say."""

import tensorflow as tf
from absl import logging
from absl.logging import converter


def set_verbosity(level: int | str) -> None:
    """Sets the level of TensorFlow's log and of ours, which TensorFlow 1 had in one.

    Args:
      level: one of `tf.compat.v1.logging.DEBUG`, `INFO`, `WARN`, `ERROR`, `FATAL`, or the name of one.
    """
    tf.compat.v1.logging.set_verbosity(level)
    # TensorFlow has turned a name into its number by now.
    logging.set_verbosity(converter.standard_to_absl(tf.compat.v1.logging.get_verbosity()))
