"""Where in its input a training was, so that a resumed one reads on from there.

An Estimator calls its input_fn anew in each `train()`, and data start over: that is the contract. But a call that was
killed is to be continued, not started over. `input_position.json` in the model_dir holds the global step at which the
call in progress began; it is removed when the call ends as planned.
"""

import json
import posixpath

import tensorflow as tf
from absl import logging

_FILE = "input_position.json"


class InputPosition:
    """The first step of the training call in progress, kept in the model_dir.

    Of several processes with one model_dir one writes (`is_writer`); all read.
    """

    def __init__(self, model_dir: str, *, is_writer: bool = True):
        self._path = posixpath.join(model_dir, _FILE)
        self._is_writer = is_writer

    def begin(self, step: int) -> int:
        """Notes that a call begins at `step`; returns how many steps of it an interrupted one before had done."""
        first_step = self._interrupted_at(step)
        if first_step is None:
            self.restart(step)
            return 0
        return step - first_step

    def restart(self, step: int) -> None:
        """Notes that the call in progress begins at `step` with the first batch."""
        if not self._is_writer:
            return
        tf.io.gfile.makedirs(posixpath.dirname(self._path))
        with tf.io.gfile.GFile(f"{self._path}.tmp", "w") as file:
            json.dump({"first_step": step}, file)
        tf.io.gfile.rename(f"{self._path}.tmp", self._path, overwrite=True)

    def end(self) -> None:
        """Notes that the call ended as planned."""
        if self._is_writer and tf.io.gfile.exists(self._path):
            tf.io.gfile.remove(self._path)

    def _interrupted_at(self, step: int) -> int | None:
        if not tf.io.gfile.exists(self._path):
            return None
        try:
            with tf.io.gfile.GFile(self._path) as file:
                first_step = int(json.load(file)["first_step"])
        except (ValueError, KeyError, TypeError) as error:
            logging.warning("%s cannot be read (%s): the data start over", self._path, error)
            return None
        # A checkpoint from before that call: the data of the call start over as well.
        return first_step if first_step <= step else None
