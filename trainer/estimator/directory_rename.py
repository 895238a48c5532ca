"""Renames a directory, in Cloud Storage too."""

import tensorflow as tf

_MOST_ATTEMPTS = 10


def rename_directory(source: str, target: str) -> None:
    """Renames a directory; `target` must not exist.

    TensorFlow asks Cloud Storage whether `source` is a directory, and takes a request that fails for a no. The rename
    then ends in a NotFoundError, with nothing lost: another attempt goes on where that one stopped.

    Raises:
      tf.errors.OpError: it cannot be done.
    """
    num_attempts = _MOST_ATTEMPTS if source.startswith("gs://") else 1
    for _ in range(num_attempts - 1):
        try:
            return tf.io.gfile.rename(source, target)
        except tf.errors.NotFoundError:
            continue
    return tf.io.gfile.rename(source, target)
