"""Ready configurations, each with its command, what it takes and what to expect."""

import dataclasses
import types
from collections.abc import Mapping
from typing import Any

from trainer.config import ExperimentConfig
from trainer.errors import UserError, nearest


@dataclasses.dataclass(frozen=True)
class Preset:
    """A named configuration.

    `expected` says what comes out and who measured it: "measured" names a command of this repository, "published" a
    source; a preset that was not run here says so.
    """

    name: str
    summary: str
    takes: str
    expected: str
    settings: Mapping[str, Any]

    def __post_init__(self):
        object.__setattr__(self, "settings", types.MappingProxyType(dict(self.settings)))

    @property
    def config(self) -> ExperimentConfig:
        """The defaults with this preset's settings."""
        return ExperimentConfig().replace(**self.settings)

    @property
    def command(self) -> str:
        """The command that trains it."""
        return f"tpu-images train DATASET --model_dir=MODEL_DIR --preset={self.name}"


_IMAGENET_90_EPOCHS = {
    "network": "resnet50",
    "base_learning_rate": 0.1,
    "train_epochs": 90.0,
    "warmup_epochs": 5.0,
    "schedule": "cosine",
    "weight_decay": 1e-4,
    "label_smoothing": 0.1,
    "global_batch_size": 1024,
    "eval_global_batch_size": 1024,
    "iterations_per_loop": 100,
    "log_every_steps": 100,
    "nesterov": True,
}

PRESETS = (
    Preset(
        name="digits",
        summary="handwritten digits, 8x8 pixels: the network of `make demo`",
        takes="about two minutes on 2 CPU cores",
        expected="98 % or more on the test split; measured by `make demo`",
        settings={
            "network": "resnet14",
            "precision": "float32",
            "image_size": 8,
            "crop": "pad",
            "crop_padding": 1,
            "eval_crop_fraction": 1.0,
            "horizontal_flip": False,
            "global_batch_size": 32,
            "train_epochs": 30.0,
            "warmup_epochs": 2.0,
            "base_learning_rate": 0.8,
            "label_smoothing": 0.1,
            "epochs_per_eval": 10.0,
            "top_k": 3,
        },
    ),
    Preset(
        name="cifar10",
        summary="32x32 pixel photographs in a few minutes on a laptop",
        takes="5 epochs: minutes for 10,000 images on 2 CPU cores",
        expected="about 66 % after 5 epochs of CIFAR-10's first 10,000 images, split 9:1; measured by this command",
        # Five epochs are too few to overfit: little augmentation, and residual branches that are open from the start.
        # For dozens of epochs take --crop_padding=4 and --zero_init_last_gamma.
        settings={
            "network": "resnet20",
            "resnet_d_shortcut": True,
            "zero_init_last_gamma": False,
            "batch_norm_momentum": 0.98,
            "precision": "float32",
            "image_size": 32,
            "crop": "pad",
            "crop_padding": 1,
            "eval_crop_fraction": 1.0,
            "global_batch_size": 32,
            "train_epochs": 5.0,
            "warmup_epochs": 1.0,
            "base_learning_rate": 1.6,
            "label_smoothing": 0.1,
            "weight_decay": 5e-4,
            "nesterov": True,
        },
    ),
    Preset(
        name="flowers",
        summary="a few thousand photographs, trained from nothing at 96 pixels",
        takes="30 epochs; no time measured",
        expected="no accuracy measured; not run here on the TensorFlow flowers photographs",
        settings={
            "network": "resnet18",
            "image_size": 96,
            "crop_area_min": 0.25,
            "global_batch_size": 64,
            "eval_global_batch_size": 64,
            "train_epochs": 30.0,
            "warmup_epochs": 2.0,
            "base_learning_rate": 0.2,
            "weight_decay": 5e-4,
            "label_smoothing": 0.1,
            "precision": "float32",
        },
    ),
    Preset(
        name="imagenet_resnet50",
        summary="ResNet-50 v1.5 on ImageNet, the 90-epoch recipe",
        takes="about 4.4 hours for 100 epochs on a TPU v3-8 (published: flax examples/imagenet)",
        expected="above 76 % top-1 (published: tensorflow/tpu models/official/resnet); not run here",
        settings=_IMAGENET_90_EPOCHS,
    ),
    Preset(
        name="imagenet_resnet50_large_batch",
        summary="ResNet-50 on a TPU slice: batch 4096 with LARS",
        takes="about an hour on 16 chips of TPU v3 (published: MLPerf v0.7, 32,590 images/s)",
        expected="about 76 % top-1 (published: MLPerf v0.7); not run here",
        settings=_IMAGENET_90_EPOCHS
        | {
            "global_batch_size": 4096,
            "eval_global_batch_size": 4096,
            "optimizer": "lars",
            "base_learning_rate": 0.8125,
            "weight_decay": 2e-4,
            "nesterov": False,
        },
    ),
    Preset(
        name="imagenet_resnet_rs50",
        summary="ResNet-50 with ResNet-D, squeeze-and-excitation, RandAugment and weight averaging, 160 pixels",
        takes="350 epochs; 1,829 images/s on a TPU v3 core pair (published: ResNet-RS)",
        expected="78.8 % top-1 (published: ResNet-RS-50 at 160 pixels, whose recipe this follows); not run here",
        settings=_IMAGENET_90_EPOCHS
        | {
            "image_size": 160,
            "train_epochs": 350.0,
            "global_batch_size": 4096,
            "eval_global_batch_size": 4096,
            "resnet_d_stem": True,
            "resnet_d_shortcut": True,
            "se_ratio": 0.25,
            "dropout_rate": 0.25,
            "randaugment_num_layers": 2,
            "randaugment_magnitude": 10.0,
            "ema_decay": 0.9999,
            "weight_decay": 4e-5,
        },
    ),
)


def get(name: str) -> Preset:
    """Returns the preset called `name`; UserError with the nearest name otherwise."""
    for preset in PRESETS:
        if preset.name == name:
            return preset
    known = [preset.name for preset in PRESETS]
    raise UserError(
        "no such preset", where=f"--preset={name}", remedy=nearest(name, known, f"one of {', '.join(known)}")
    )
