"""One experiment: this configuration, on this dataset, in this model_dir; trained and measured through TPUEstimator."""

import contextlib
import dataclasses
import itertools
import math
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
from absl import logging

from trainer import accelerators, model_directory
from trainer.config import ExperimentConfig
from trainer.data import records
from trainer.data.input_fn import encoded_images, make_input_fn
from trainer.data.records import DatasetDirectory
from trainer.errors import UserError
from trainer.estimator import ModeKeys, RunConfig, TPUConfig, TPUEstimator, checkpoints, engine_choice
from trainer.export import publish, trained_classifier
from trainer.export.publish import ExportCheck, PublishedExport
from trainer.export.serving import ServingModule
from trainer.export.trained_classifier import TrainedClassifier
from trainer.model_directory import ModelRecord
from trainer.models import classifier, registry

_PREDICT_BATCH_SIZE = 64
_NUM_EXPORT_CHECK_IMAGES = 128
# How a disk, a quota or a limit of the process says that nothing more can be written.
_FULL_DISK_WORDS = ("No space left on device", "Disk quota exceeded", "File too large")


@dataclasses.dataclass(frozen=True)
class Experiment:
    """A model to be trained, or one that was: `record` is what its model_dir says of it."""

    model_dir: str
    record: ModelRecord

    @property
    def config(self) -> ExperimentConfig:
        """The configuration."""
        return self.record.config

    @property
    def num_classes(self) -> int:
        """Number of classes."""
        return len(self.record.class_names)

    @property
    def steps_per_epoch(self) -> float:
        """Training steps in one pass over the training split; not rounded, since batches straddle epochs."""
        return self.record.num_train_examples / self.config.loop.global_batch_size

    @property
    def num_train_steps(self) -> int:
        """The global step at which training ends."""
        return max(1, round(self.config.loop.train_epochs * self.steps_per_epoch))

    def evaluation_steps(self) -> Iterator[int]:
        """Yields the global steps at which to evaluate; the last one is the end of training."""
        interval = self.config.loop.epochs_per_eval * self.steps_per_epoch
        num_intervals = math.ceil(self.num_train_steps / interval) if interval else 1
        steps = {min(self.num_train_steps, max(1, round(interval * index))) for index in range(1, num_intervals)}
        yield from sorted(steps - {self.num_train_steps})
        yield self.num_train_steps


def open_dataset_of(experiment: Experiment, path: str | None = None) -> DatasetDirectory:
    """Opens the dataset that the model was trained on, or another one (`path`) with the same classes.

    Raises:
      UserError: it is not a dataset, or its classes differ.
    """
    dataset = records.open_dataset(path or experiment.record.dataset)
    found, wanted = dataset.info.class_names, experiment.record.class_names
    if found != wanted:
        raise UserError(
            f"has other classes ({_few(found)}) than the model ({_few(wanted)})",
            where=dataset.path,
            remedy="give a dataset with the model's classes",
        )
    return dataset


def _few(names: Sequence[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")


def plan(dataset: DatasetDirectory, model_dir: str, config: ExperimentConfig) -> Experiment:
    """Checks that `config` can be trained on `dataset`, and writes nothing.

    Raises:
      UserError: a split is missing or smaller than a batch, or a setting does not suit the network.
    """
    num_examples = dataset.info.split(config.input.train_split, where=dataset.path).num_examples
    dataset.info.split(config.input.eval_split, where=dataset.path)
    if num_examples < config.loop.global_batch_size:
        raise UserError(
            f"split {config.input.train_split!r} has {num_examples} examples, fewer than one batch",
            where=dataset.path,
            remedy=f"give --global_batch_size={num_examples} or less",
        )
    registry.build(config.model, dataset.info.num_classes)
    record = ModelRecord(
        config=config,
        class_names=dataset.info.class_names,
        dataset=_absolute(dataset.path),
        dataset_fingerprint=dataset.info.fingerprint,
        num_train_examples=num_examples,
    )
    return Experiment(model_dir, record)


def load(model_dir: str) -> Experiment:
    """Returns the experiment that an existing model_dir describes; UserError when there is none."""
    return Experiment(model_dir, model_directory.read(model_dir))


def _absolute(path: str) -> str:
    """A model_dir outlives the directory it was started from; URLs stay as they are."""
    return path if "://" in path else os.path.abspath(path)


def make_estimator(experiment: Experiment, announce: Callable[[str], None] = logging.info) -> TPUEstimator:
    """Returns the estimator of an experiment; gives `announce` the line that says what runs its steps, and why.

    Raises:
      UserError: the devices that the configuration asks for are not here.
    """
    loop = experiment.config.loop
    device = accelerators.choose(loop)
    engine = engine_choice.choose(device.use_tpu, device.master)
    announce(device.describe(_devices_of(device)))
    run_config = RunConfig(
        model_dir=experiment.model_dir,
        master=device.master,
        tf_random_seed=loop.seed,
        save_checkpoints_secs=loop.save_checkpoints_secs,
        keep_checkpoint_max=loop.keep_checkpoint_max,
        log_step_count_steps=loop.log_every_steps,
        tpu_config=TPUConfig(iterations_per_loop=loop.iterations_per_loop),
    )
    return TPUEstimator(
        model_fn=classifier.model_fn,
        config=run_config,
        params=model_params(experiment),
        use_tpu=device.use_tpu,
        train_batch_size=loop.global_batch_size,
        eval_batch_size=loop.eval_global_batch_size,
        # Replicas need a size that divides among them; a CPU that checks an export need not hold the batch of a TPU.
        predict_batch_size=loop.eval_global_batch_size if device.use_tpu else _PREDICT_BATCH_SIZE,
        engine=engine,
    )


def _devices_of(choice: accelerators.DeviceChoice) -> str:
    """Returns the number and kind of the devices, such as `8 x TPU v5 lite (tpu)`, those of all processes."""
    if not choice.use_tpu:
        return f"1 x {'GPU' if tf.config.list_physical_devices('GPU') else 'CPU'}"
    from trainer.engine import pjrt_devices  # noqa: PLC0415 - JAX is an extra that CPU users lack

    return str(pjrt_devices.select(choice.master) if choice.master else pjrt_devices.available())


def model_params(experiment: Experiment) -> dict[str, Any]:
    """Returns the `params` of the image model_fn."""
    return {
        "config": experiment.config,
        "num_classes": experiment.num_classes,
        "steps_per_epoch": experiment.steps_per_epoch,
    }


def train_and_evaluate(
    experiment: Experiment,
    dataset: DatasetDirectory,
    *,
    hooks: Sequence[Any] = (),
    on_evaluation: Callable[[int, Mapping[str, Any]], None] = lambda step, metrics: None,
    announce: Callable[[str], None] = logging.info,
) -> Mapping[str, Any]:
    """Trains from the latest checkpoint (or from nothing) to the end, evaluating every `epochs_per_eval`.

    Args:
      experiment: as `plan` returned it; its model_dir is claimed now.
      dataset: the opened dataset.
      hooks: `SessionRunHook`s of the training loop.
      on_evaluation: called with the global step and the metrics of each evaluation.
      announce: called with the line that says what runs the steps, before anything is written.

    Returns:
      The metrics of the last evaluation.

    Raises:
      UserError: the devices asked for are not here, the model_dir holds another model, a shard is damaged, or the
        disk is full.
    """
    config = experiment.config
    estimator = make_estimator(experiment, announce)
    train_input_fn = make_input_fn(dataset, config.input.train_split, ModeKeys.TRAIN, config)
    eval_input_fn = make_input_fn(dataset, config.input.eval_split, ModeKeys.EVAL, config)
    model_directory.claim(experiment.model_dir, experiment.record)
    metrics: Mapping[str, Any] = {}
    with _full_disk_told(experiment.model_dir):
        for step in _steps_to_go(experiment):
            estimator.train(train_input_fn, max_steps=step, hooks=list(hooks))
            metrics = estimator.evaluate(eval_input_fn)
            on_evaluation(step, metrics)
    return metrics


@contextlib.contextmanager
def _full_disk_told(model_dir: str) -> Iterator[None]:
    try:
        yield
    except tf.errors.OpError as error:
        if not any(words in error.message for words in _FULL_DISK_WORDS):
            raise  # memory of the device, for instance
        remedy = "make room, and run the same command again: a training goes on from the last checkpoint"
        raise UserError("the disk is full", where=model_dir, remedy=remedy) from error


def _steps_to_go(experiment: Experiment) -> list[int]:
    """The evaluations that are still to come; the last one always, so that a finished model reports its metrics."""
    newest = _newest_checkpoint(experiment)
    reached = checkpoints.global_step(newest) if newest else 0
    return [step for step in experiment.evaluation_steps() if step > reached or step == experiment.num_train_steps]


def evaluate(experiment: Experiment, dataset: DatasetDirectory, split: str) -> Mapping[str, Any]:
    """Measures the latest checkpoint on every example of a split, once; events go to `eval_<split>/`.

    Raises:
      UserError: there is no such split, a shard is damaged, there is no checkpoint, or the disk is full.
    """
    checkpoint_path = _trained_checkpoint(experiment)
    input_fn = make_input_fn(dataset, split, ModeKeys.EVAL, experiment.config)
    with _full_disk_told(experiment.model_dir):
        return make_estimator(experiment).evaluate(input_fn, checkpoint_path=checkpoint_path, name=split)


def export(experiment: Experiment, dataset: DatasetDirectory, base_dir: str) -> PublishedExport:
    """Exports the latest checkpoint, checked against the live model on images of the evaluation split.

    Raises:
      UserError: there is no checkpoint, or no such split.
      ExportMismatchError: the export does not answer as the live model does; nothing is published.
    """
    checkpoint_path = _trained_checkpoint(experiment)
    check = _export_check(experiment, dataset, checkpoint_path)
    description = {
        "checkpoint": os.path.basename(checkpoint_path),
        "config": dataclasses.asdict(experiment.config),
        "dataset_fingerprint": experiment.record.dataset_fingerprint,
    }
    return publish.publish(_trained_classifier(experiment, checkpoint_path), base_dir, check, description)


def _export_check(experiment: Experiment, dataset: DatasetDirectory, checkpoint_path: str) -> ExportCheck:
    """Asks the estimator for what it predicts, by its own input and engine."""
    config = experiment.config
    input_fn = make_input_fn(dataset, config.input.eval_split, ModeKeys.PREDICT, config)
    answers = make_estimator(experiment).predict(input_fn, "probabilities", checkpoint_path=checkpoint_path)
    few_answers = itertools.islice(answers, _NUM_EXPORT_CHECK_IMAGES)
    probabilities = np.array([answer["probabilities"] for answer in few_answers])
    images = encoded_images(dataset, config.input.eval_split).take(len(probabilities))
    return ExportCheck(list(images.as_numpy_iterator()), probabilities)


def live_classifier(experiment: Experiment) -> Callable[[Sequence[bytes]], Mapping[str, np.ndarray]]:
    """Returns the latest checkpoint as a function like `serving.ExportedClassifier`; UserError when there is none."""
    module = ServingModule(_trained_classifier(experiment, _trained_checkpoint(experiment)))

    def classify(encoded_images: Sequence[bytes]) -> Mapping[str, np.ndarray]:
        outputs = module.serve(tf.constant(list(encoded_images), tf.string))
        return {name: value.numpy() for name, value in outputs.items()}

    return classify


def _trained_classifier(experiment: Experiment, checkpoint_path: str) -> TrainedClassifier:
    return trained_classifier.from_checkpoint(model_params(experiment), experiment.record.class_names, checkpoint_path)


def _trained_checkpoint(experiment: Experiment) -> str:
    path = _newest_checkpoint(experiment)
    if path is None:
        raise UserError("has no checkpoint", where=experiment.model_dir, remedy="train the model first")
    return path


def _newest_checkpoint(experiment: Experiment) -> str | None:
    """Returns the path of the newest checkpoint that is whole, as the Estimator would take it; None without any."""
    found = checkpoints.CheckpointDirectory(experiment.model_dir).read_newest()
    return found[0] if found else None
