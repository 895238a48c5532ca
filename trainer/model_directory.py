"""`model_dir` as the trainer lays it out, and `config.json` in it: what the model is, and what it was trained on."""

import contextlib
import dataclasses
import json
import posixpath
from collections.abc import Iterator
from typing import Any

import tensorflow as tf

from preprocessing import schema
from trainer import config
from trainer.errors import UserError, reason

EXPORT_DIR = "export"
_FORMAT_VERSION = 1


@dataclasses.dataclass(frozen=True)
class ModelRecord:
    """The content of `config.json`.

    `dataset_fingerprint` identifies the data (`DatasetInfo.fingerprint`); `dataset` is only where it was found.
    """

    config: config.ExperimentConfig
    class_names: tuple[str, ...]
    dataset: str
    dataset_fingerprint: str
    num_train_examples: int

    def to_json(self) -> str:
        """Returns the text of `config.json`."""
        return json.dumps({"format_version": _FORMAT_VERSION, **dataclasses.asdict(self)}, indent=2) + "\n"

    @classmethod
    def from_json(cls, text: str | bytes, *, where: str) -> "ModelRecord":
        """Parses `config.json`; UserError when it is not one of ours."""
        try:
            fields: dict[str, Any] = json.loads(text)
            version = fields.pop("format_version")
            sections = fields.pop("config")
            if version == _FORMAT_VERSION:
                record = cls(config.ExperimentConfig(), tuple(fields.pop("class_names")), **fields)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            remedy = "give another --model_dir"
            raise UserError(f"not a model's configuration ({reason(error)})", where=where, remedy=remedy) from error
        if version != _FORMAT_VERSION:
            raise UserError(f"written in format {version}, this program reads {_FORMAT_VERSION}", where=where)
        experiment_config = config.ExperimentConfig.from_json(json.dumps(sections), where=where)
        return dataclasses.replace(record, config=experiment_config)


def config_path(model_dir: str) -> str:
    """Returns where `config.json` lies."""
    return posixpath.join(model_dir, config.CONFIG_FILE)


def read(model_dir: str) -> ModelRecord:
    """Returns the record of an existing model; UserError when there is none."""
    path = config_path(model_dir)
    with failures_told("used", model_dir):
        if not tf.io.gfile.exists(path):
            raise UserError(
                "no trained model here", where=model_dir, remedy="train one first: tpu-images train DATASET ..."
            )
        with tf.io.gfile.GFile(path, "rb") as file:
            return ModelRecord.from_json(file.read(), where=path)


def claim(model_dir: str, record: ModelRecord) -> None:
    """Makes `model_dir` the home of this model, new or continued.

    Settings that nothing was trained with yet, those of a run that failed at its start, give way to the new ones.

    Raises:
      UserError: when it holds another model (other settings, other data), a dataset, or files that are not ours, or
        cannot be written.
    """
    require_plain_name(model_dir)
    with failures_told("used", model_dir):
        is_trained = bool(_checkpoint_files(model_dir))
        if tf.io.gfile.exists(posixpath.join(model_dir, schema.DATASET_INFO_FILE)):
            raise UserError("is a dataset", where=model_dir, remedy="give another --model_dir")
        if tf.io.gfile.exists(config_path(model_dir)):
            saved = read(model_dir)
            if is_trained:
                _check_same_model(saved, record, model_dir)
        elif is_trained:
            raise UserError(
                f"has checkpoints but no {config.CONFIG_FILE}", where=model_dir, remedy="give another --model_dir"
            )
        write_text(config_path(model_dir), record.to_json())


def _checkpoint_files(model_dir: str) -> list[str]:
    return tf.io.gfile.glob([posixpath.join(model_dir, pattern) for pattern in ("checkpoint", "model.ckpt-*")])


def require_plain_name(path: str) -> None:
    """Raises UserError for a place where TensorFlow would not find again what it wrote: it reads names as patterns."""
    if any(character in path for character in "[\\"):
        raise UserError("has [ or \\ in its name, which TensorFlow takes for a pattern", where=path, remedy="rename it")


@contextlib.contextmanager
def failures_told(deed: str, path: str) -> Iterator[None]:
    """Turns an error of TensorFlow's file system into one line: what cannot be `deed` (read, written), and why."""
    try:
        yield
    except tf.errors.OpError as error:
        raise UserError(f"cannot be {deed} ({error.message})", where=path, remedy="give another place") from error


def _check_same_model(saved: ModelRecord, wanted: ModelRecord, model_dir: str) -> None:
    remedy = "give another --model_dir, or the settings it was made with"
    changes = config.changed_identity(saved.config, wanted.config)
    if changes:
        text = ", ".join(f"{name}={before!r} (now {after!r})" for name, (before, after) in changes.items())
        raise UserError(f"was trained with {text}", where=model_dir, remedy=remedy)
    if saved.dataset_fingerprint != wanted.dataset_fingerprint:
        raise UserError(
            f"was trained on other data ({saved.dataset}, fingerprint {saved.dataset_fingerprint},"
            f" now {wanted.dataset_fingerprint})",
            where=model_dir,
            remedy="give another --model_dir, or the dataset it was trained on",
        )


def write_text(path: str, text: str) -> None:
    """Writes a small file so that a reader sees the old text or the new one, never a part."""
    tf.io.gfile.makedirs(posixpath.dirname(path) or ".")
    temporary_path = f"{path}.tmp"
    with tf.io.gfile.GFile(temporary_path, "w") as file:
        file.write(text)
    tf.io.gfile.rename(temporary_path, path, overwrite=True)
