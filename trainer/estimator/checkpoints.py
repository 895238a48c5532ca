"""Checkpoints: TensorFlow's name-based format, each file complete or absent, damage found before it is believed.

`model.ckpt-STEP.data-00000-of-00001` and `.index` are written under a temporary name and renamed, data first; the state
file `checkpoint` follows. So what the state file names is whole, unless something damaged it later: reading checks
the checksums, and goes back to the newest whole checkpoint.
"""

import contextlib
import dataclasses
import posixpath
import re
import time
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import tensorflow as tf
from absl import logging
from google.protobuf import text_format
from tensorflow.python.training import checkpoint_state_pb2

from trainer.errors import UserError
from trainer.estimator import variable_parts

STATE_FILE = "checkpoint"
_PREFIX = "model.ckpt"
_INDEX_NAME = re.compile(rf"({re.escape(_PREFIX)}-(\d+))\.index")
_DATA_SUFFIX = ".data-00000-of-00001"
# What TensorFlow's reader raises for a file that is missing, cut short or altered.
_DAMAGE = (tf.errors.OpError, ValueError, RuntimeError, LookupError, OSError)


class DamagedCheckpointError(UserError):
    """A checkpoint cannot be read."""


@dataclasses.dataclass(frozen=True)
class RetentionPolicy:
    """Which checkpoints are kept: the newest `max_to_keep` (None or 0: all), and one per `keep_every_n_hours`."""

    max_to_keep: int | None = 5
    keep_every_n_hours: float = 10000

    def joined(self, other: "RetentionPolicy") -> "RetentionPolicy":
        """Returns the policy that keeps what either of two does."""
        keeps_all = not self.max_to_keep or not other.max_to_keep
        return RetentionPolicy(
            None if keeps_all else max(self.max_to_keep or 0, other.max_to_keep or 0),
            min(self.keep_every_n_hours, other.keep_every_n_hours),
        )


class CheckpointDirectory:
    """The checkpoints of one model_dir."""

    def __init__(self, model_dir: str, policy: RetentionPolicy = RetentionPolicy()):
        self._model_dir = model_dir
        self._policy = policy
        self._last_kept_secs = time.time()

    def save(self, values: Mapping[str, Any], step: int) -> str:
        """Writes a checkpoint and makes it the latest; returns its path without suffix.

        Args:
          values: tensors or arrays by name.
          step: the global step.
        """
        path = self.path(step)
        tf.io.gfile.makedirs(self._model_dir)
        _write(path, values)
        managed = self._managed(step)
        surplus = managed[: -self._policy.max_to_keep] if self._policy.max_to_keep else []
        self._write_state([prefix for prefix in managed if prefix not in surplus])
        for prefix in surplus:
            self._remove_or_keep_for_good(prefix)
        return path

    def _managed(self, step: int) -> list[str]:
        """Returns the checkpoints up to `step` that may be removed, oldest first.

        Later ones are of a future that was given up, when training went back to a checkpoint before damage. Those that
        are kept for good are no longer in the state file.
        """
        paths = dict.fromkeys([*(self._listed() or self._on_disk()[::-1]), self.path(step)])
        # What somebody else has put there under a name without a step is not ours to remove.
        ours = (path for path in paths if _has_step(path) and step_of(path) <= step)
        return [path for path in ours if tf.io.gfile.exists(path + ".index")]

    def keep_more(self, policy: RetentionPolicy) -> None:
        """From now on keeps what `policy` asks for as well."""
        self._policy = self._policy.joined(policy)

    def path(self, step: int) -> str:
        """Returns the path, without suffix, of a step's checkpoint."""
        return posixpath.join(self._model_dir, f"{_PREFIX}-{step}")

    def latest(self) -> str | None:
        """Returns the path of the newest checkpoint; None without any. What is in it has not been read."""
        present = self._present()
        return present[0] if present else None

    def _present(self) -> list[str]:
        return [path for path in self.candidates() if tf.io.gfile.exists(path + ".index")]

    def candidates(self) -> list[str]:
        """Returns the paths of the checkpoints that should be there, newest first.

        The state file decides which is the newest. Without one, or when it is garbage, the files themselves do.
        """
        listed = self._listed()[::-1]
        if self._has_state_file() and not listed:
            logging.warning("%s/%s cannot be read: taking the files that are there", self._model_dir, STATE_FILE)
        return listed + [path for path in self._on_disk() if path not in listed]

    def read_newest(self) -> tuple[str, dict[str, np.ndarray]] | None:
        """Reads the newest checkpoint that is whole; returns its path and its values, None when there never was one.

        Raises:
          UserError: all checkpoints are damaged, or the state file tells of some and there are none.
        """
        damaged = []
        for path in self.candidates():
            try:
                values = read(path)
            except DamagedCheckpointError as error:
                logging.error("%s; going back to the checkpoint before it", error)
                damaged.append(path)
                continue
            return path, values
        if damaged or self._has_state_file():
            raise UserError(
                f"no checkpoint can be read (tried {', '.join(map(posixpath.basename, damaged)) or STATE_FILE})",
                where=self._model_dir,
                remedy="restore one from a backup, or give another model_dir to start anew",
            )
        return None

    def _listed(self) -> list[str]:
        """Returns the paths in the state file, oldest first; none if it is missing or garbage."""
        if not self._has_state_file():
            return []
        state = checkpoint_state_pb2.CheckpointState()
        try:
            with tf.io.gfile.GFile(posixpath.join(self._model_dir, STATE_FILE)) as file:
                text_format.Parse(file.read(), state)
        except (text_format.ParseError, UnicodeDecodeError, tf.errors.OpError):
            return []
        newest = state.model_checkpoint_path
        paths = [*(path for path in state.all_model_checkpoint_paths if path != newest), newest]
        return [posixpath.join(self._model_dir, posixpath.basename(path)) for path in paths if path]

    def _has_state_file(self) -> bool:
        return tf.io.gfile.exists(posixpath.join(self._model_dir, STATE_FILE))

    def _on_disk(self) -> list[str]:
        if not tf.io.gfile.isdir(self._model_dir):
            return []
        matches = [match for name in tf.io.gfile.listdir(self._model_dir) if (match := _INDEX_NAME.fullmatch(name))]
        matches.sort(key=lambda match: int(match.group(2)), reverse=True)
        return [posixpath.join(self._model_dir, match.group(1)) for match in matches]

    def _remove_or_keep_for_good(self, path: str) -> None:
        if time.time() - self._last_kept_secs >= self._policy.keep_every_n_hours * 3600:
            self._last_kept_secs = time.time()
        else:
            remove(path)

    def _write_state(self, paths: list[str]) -> None:
        names = [posixpath.basename(path) for path in paths]
        state = checkpoint_state_pb2.CheckpointState(
            model_checkpoint_path=names[-1], all_model_checkpoint_paths=names, last_preserved_timestamp=time.time()
        )
        path = posixpath.join(self._model_dir, STATE_FILE)
        with tf.io.gfile.GFile(f"{path}.tmp", "w") as file:
            file.write(text_format.MessageToString(state))
        tf.io.gfile.rename(f"{path}.tmp", path, overwrite=True)


def step_of(path: str) -> int:
    """Returns the global step in a checkpoint's name; 0 if it has none."""
    return int(path.rpartition("-")[2]) if _has_step(path) else 0


def _has_step(path: str) -> bool:
    return path.rpartition("-")[2].isdecimal()


def read(path: str, names: Iterable[str] | None = None) -> dict[str, np.ndarray]:
    """Returns variables of a checkpoint by name: those that are asked for and there, or all.

    Raises:
      DamagedCheckpointError: it is not there, or damaged.
    """
    with damage_told(path):
        reader = tf.train.load_checkpoint(path)
        present = reader.get_variable_to_shape_map()
        wanted = present if names is None else [name for name in names if name in present]
        return {name: reader.get_tensor(name) for name in wanted}


@contextlib.contextmanager
def damage_told(path: str) -> Iterator[None]:
    """Turns what TensorFlow's reader raises for what is missing or damaged into `DamagedCheckpointError`."""
    try:
        yield
    except _DAMAGE as error:
        raise DamagedCheckpointError(f"damaged or missing ({_first_line(error)})", where=path) from error


def global_step(path: str) -> int:
    """Returns the global step that a checkpoint holds; that of its name, when it holds none."""
    values = read(path, ["global_step"])
    return int(values["global_step"]) if values else step_of(path)


def remove(path: str) -> None:
    """Deletes a checkpoint, index first: without its index it counts as absent."""
    for name in [path + ".index", *tf.io.gfile.glob(path + ".data-*"), *tf.io.gfile.glob(path + ".meta")]:
        if tf.io.gfile.exists(name):
            tf.io.gfile.remove(name)


def _write(path: str, values: Mapping[str, Any]) -> None:
    temporary = f"{path}.tmp"
    names_and_slices = {name: variable_parts.name_and_slice(name, value) for name, value in values.items()}
    order = sorted(values, key=lambda name: names_and_slices[name])
    tf.raw_ops.SaveV2(
        prefix=temporary,
        tensor_names=[names_and_slices[name][0] for name in order],
        shape_and_slices=[names_and_slices[name][1] for name in order],
        tensors=[tf.convert_to_tensor(values[name]) for name in order],
    )
    for suffix in (_DATA_SUFFIX, ".index"):
        tf.io.gfile.rename(temporary + suffix, path + suffix, overwrite=True)


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
