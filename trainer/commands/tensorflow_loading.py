"""Loads TensorFlow for a command: without its start-up chatter, and with a plain line when it is not installed."""

import contextlib
import importlib.util
import os
import sys
import tempfile
from collections.abc import Iterator

from trainer.errors import UserError


def load_tensorflow() -> None:
    """Imports TensorFlow.

    Raises:
      UserError: when no TensorFlow distribution is installed.
    """
    if importlib.util.find_spec("tensorflow") is None:
        raise UserError("TensorFlow is not installed", remedy="pip install 'tpu-images[cpu]' (or [gpu], [tpu])")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    with _native_stderr_kept_for_failure():
        import tensorflow  # noqa: F401, PLC0415


@contextlib.contextmanager
def _native_stderr_kept_for_failure() -> Iterator[None]:
    """Holds back what native code prints, and shows it only when the block fails.

    TensorFlow's libraries print notices before their log levels are read; no environment variable turns them off.
    """
    sys.stderr.flush()
    saved_descriptor = os.dup(2)
    with tempfile.TemporaryFile() as held_back:
        os.dup2(held_back.fileno(), 2)
        has_failed = True
        try:
            yield
            has_failed = False
        finally:
            os.dup2(saved_descriptor, 2)
            os.close(saved_descriptor)
            if has_failed:
                held_back.seek(0)
                os.write(2, held_back.read())
