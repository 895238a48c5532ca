"""The training of the project's own image models, as a workload to ask about."""

import tensorflow as tf

from trainer.config import ExperimentConfig
from trainer.models import classifier
from trainer.preflight.preflight import Workload
from trainer.preflight.training_step import TrainingStep


def image_workload(config: ExperimentConfig, *, num_classes: int, num_train_examples: int, name: str = "") -> Workload:
    """Returns the training that `config` describes, on so many examples of so many classes."""
    size = config.input.image_size
    step = TrainingStep(
        model_fn=classifier.model_fn,
        features={"image": tf.TensorSpec([None, size, size, 3], tf.uint8)},
        labels=tf.TensorSpec([None], tf.int32),
        params={
            "config": config,
            "num_classes": num_classes,
            "steps_per_epoch": num_train_examples / config.loop.global_batch_size,
        },
    )
    return Workload(
        name=name or config.model.network,
        step=step,
        global_batch_size=config.loop.global_batch_size,
        num_examples=round(config.loop.train_epochs * num_train_examples),
    )
