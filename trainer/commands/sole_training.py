"""One training at a time in a model_dir: two would overwrite and remove each other's checkpoints."""

import contextlib
import fcntl
import os
from collections.abc import Iterator

import tensorflow as tf
from absl import logging

from trainer import model_directory
from trainer.errors import UserError


@contextlib.contextmanager
def alone_in(model_dir: str) -> Iterator[None]:
    """Locks a local model_dir while the block runs; the lock ends with the process.

    The folder is made if need be, and removed if it is empty at the end: a mistake leaves nothing. Of a training by
    several processes, the first one locks for all. Nothing is locked in `gs://`, and in a file system without locks.

    Raises:
      UserError: another training is at work there, or the place cannot be used.
    """
    if "://" in model_dir or os.environ.get("JAX_PROCESS_ID", "0") != "0":
        yield
        return
    model_directory.require_plain_name(model_dir)
    model_dir = os.path.abspath(model_dir)  # TensorFlow, too, takes `..` by the text, even after what is not there
    is_new = not os.path.isdir(model_dir)
    with model_directory.failures_told("used", model_dir):
        tf.io.gfile.makedirs(model_dir)
    with _lock(model_dir):
        try:
            yield
        finally:
            if is_new:
                with contextlib.suppress(OSError):  # it is not empty, or somebody has removed it
                    os.rmdir(model_dir)


@contextlib.contextmanager
def _lock(model_dir: str) -> Iterator[None]:
    with contextlib.ExitStack() as stack:
        try:
            folder = os.open(model_dir, os.O_RDONLY)
            stack.callback(os.close, folder)
            fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            remedy = "wait for its end, or give another --model_dir"
            raise UserError("another training is at work here", where=model_dir, remedy=remedy) from error
        except OSError as error:  # NFS and other network file systems cannot lock a folder
            logging.debug("%s is not locked: %s", model_dir, error)
        yield
