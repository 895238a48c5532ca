"""Puts an export where others find it: complete, and only after it has answered as the live model does."""

import contextlib
import dataclasses
import json
import posixpath
import time
from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np
import tensorflow as tf

from trainer import model_directory
from trainer.errors import UserError
from trainer.estimator.directory_rename import rename_directory
from trainer.export import serving
from trainer.export.serving import ExportedClassifier, ServingModule
from trainer.export.trained_classifier import TrainedClassifier

MAX_PROBABILITY_DIFFERENCE = 1e-5
EXTRA_ASSETS_DIR = "assets.extra"
LABELS_FILE = "labels.json"  # a list; a class name may hold a line break, so not a line each
DESCRIPTION_FILE = "description.json"
_TEMPORARY_PREFIX = "temp-"
_MAKE_ANEW = "make one: tpu-images export --model_dir=..."


class ExportMismatchError(Exception):
    """The export does not answer as the live model does; it was not published."""


@dataclasses.dataclass(frozen=True)
class ExportCheck:
    """Images that the export is tried on, and the live model's probabilities for them, `[num_images, num_classes]`."""

    encoded_images: Sequence[bytes]
    probabilities: np.ndarray

    def __post_init__(self):
        if not self.encoded_images or len(self.encoded_images) != len(self.probabilities):
            raise ValueError(f"{len(self.encoded_images)} images, {len(self.probabilities)} answers to check against")


@dataclasses.dataclass(frozen=True)
class PublishedExport:
    """Where the export lies, and how far it was from the live model (largest difference of a probability)."""

    export_dir: str
    max_difference: float


def publish(
    classifier: TrainedClassifier, base_dir: str, check: ExportCheck, description: Mapping[str, object]
) -> PublishedExport:
    """Writes `base_dir/<unix time>/`, which appears by a rename once it is complete and checked.

    Args:
      classifier: what to export.
      base_dir: versions lie side by side in it, as TensorFlow Serving expects.
      check: what the export must reproduce.
      description: further facts, kept as JSON in `assets.extra`.

    Raises:
      ExportMismatchError: the reloaded export differs from the live model.
      UserError: `base_dir` cannot be written.
    """
    model_directory.require_plain_name(base_dir)
    with _temporary_dir(base_dir) as temporary_dir:
        with model_directory.failures_told("written", base_dir):
            module = ServingModule(classifier)
            tf.saved_model.save(module, temporary_dir, signatures={serving.SIGNATURE: module.serve})
            _write_extra_assets(temporary_dir, classifier.class_names, description)
        max_difference = _difference(ExportedClassifier(temporary_dir), check)
        if not max_difference <= MAX_PROBABILITY_DIFFERENCE:
            raise ExportMismatchError(
                f"the export's probabilities differ from the live model's by {max_difference:.2e},"
                f" more than {MAX_PROBABILITY_DIFFERENCE:.0e}; nothing was published"
            )
        with model_directory.failures_told("written", base_dir):
            export_dir = _rename_to_version(temporary_dir, base_dir)
    return PublishedExport(export_dir, max_difference)


def latest_version(path: str) -> str:
    """Returns `path` if it is an export itself, else the newest version in it.

    Raises:
      UserError: there is none.
    """
    with model_directory.failures_told("read", path):
        if _is_export(path):
            return path
        names = tf.io.gfile.listdir(path) if tf.io.gfile.isdir(path) else []
        versions = [int(name.rstrip("/")) for name in names if name.rstrip("/").isdigit() and _is_export(path, name)]
    if not versions:
        raise UserError("no export here", where=path, remedy=_MAKE_ANEW)
    return posixpath.join(path, str(max(versions)))


def _is_export(*parts: str) -> bool:
    return tf.io.gfile.exists(posixpath.join(*parts, "saved_model.pb"))


def read_labels(export_dir: str) -> tuple[str, ...]:
    """Returns the class names of an export, in the order of its outputs; UserError when it is not one of ours."""
    path = posixpath.join(export_dir, EXTRA_ASSETS_DIR, LABELS_FILE)
    if not tf.io.gfile.exists(path):
        raise UserError("has no list of classes", where=path, remedy="give an export that `tpu-images export` made")
    try:
        with tf.io.gfile.GFile(path, "rb") as file:
            return tuple(json.loads(file.read()))
    except (ValueError, TypeError) as error:
        raise UserError(f"damaged ({error})", where=path, remedy=_MAKE_ANEW) from error


@contextlib.contextmanager
def _temporary_dir(base_dir: str) -> Iterator[str]:
    """A directory whose name no server takes for a version; removed if it is still there at the end."""
    path = posixpath.join(base_dir, f"{_TEMPORARY_PREFIX}{time.time_ns()}")
    with model_directory.failures_told("written", base_dir):
        tf.io.gfile.makedirs(path)
    try:
        yield path
    finally:
        if tf.io.gfile.exists(path):
            tf.io.gfile.rmtree(path)


def _write_extra_assets(export_dir: str, class_names: Sequence[str], description: Mapping[str, object]) -> None:
    extra_dir = posixpath.join(export_dir, EXTRA_ASSETS_DIR)
    tf.io.gfile.makedirs(extra_dir)
    with tf.io.gfile.GFile(posixpath.join(extra_dir, LABELS_FILE), "w") as file:
        file.write(json.dumps(list(class_names), indent=2, ensure_ascii=False) + "\n")
    with tf.io.gfile.GFile(posixpath.join(extra_dir, DESCRIPTION_FILE), "w") as file:
        file.write(json.dumps(description, indent=2) + "\n")


def _difference(classify: Callable[[Sequence[bytes]], Mapping[str, np.ndarray]], check: ExportCheck) -> float:
    answered = classify(check.encoded_images)["probabilities"]
    return float(np.max(np.abs(answered - check.probabilities)))


def _rename_to_version(temporary_dir: str, base_dir: str) -> str:
    """Versions are whole seconds; one that is taken (by an export in the same second) is left alone."""
    version = int(time.time())
    while tf.io.gfile.exists(posixpath.join(base_dir, str(version))):
        version += 1
    export_dir = posixpath.join(base_dir, str(version))
    rename_directory(temporary_dir, export_dir)
    return export_dir
