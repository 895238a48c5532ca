"""From the configuration to the optimizer, the schedule and the blending of images."""

from collections.abc import Callable, Mapping
from types import MappingProxyType

from trainer.config import ExperimentConfig, OptimizerConfig
from trainer.nn import optimizers
from trainer.nn.mixing import Mixing
from trainer.nn.optimizers import Optimizer
from trainer.nn.schedules import Schedule

# Learning rates are given for batches of this size, and scaled with the batch (Goyal et al. 2017, arXiv 1706.02677).
REFERENCE_BATCH_SIZE = 256


def schedule(config: ExperimentConfig, steps_per_epoch: float) -> Schedule:
    """Returns the learning rate as a function of the global step."""
    settings = config.optimization
    return Schedule(
        kind=settings.schedule,
        peak=settings.base_learning_rate * config.loop.global_batch_size / REFERENCE_BATCH_SIZE,
        steps_per_epoch=steps_per_epoch,
        train_epochs=config.loop.train_epochs,
        warmup_epochs=settings.warmup_epochs,
        decay_epochs=settings.decay_epochs,
        decay_factor=settings.decay_factor,
    )


def optimizer(settings: OptimizerConfig) -> Optimizer:
    """Returns the optimizer."""
    return _OPTIMIZERS[settings.optimizer](settings)


def mixing(settings: OptimizerConfig) -> Mixing | None:
    """Returns mixup and cutmix, None when both are off."""
    if settings.mixup_alpha == 0.0 and settings.cutmix_alpha == 0.0:
        return None
    return Mixing(settings.mixup_alpha, settings.cutmix_alpha)


def _sgd(settings: OptimizerConfig) -> Optimizer:
    return optimizers.SGD(
        momentum=settings.momentum,
        nesterov=settings.nesterov,
        weight_decay=settings.weight_decay,
        clip_norm=settings.gradient_clip_norm,
    )


def _lars(settings: OptimizerConfig) -> Optimizer:
    return optimizers.LARS(
        momentum=settings.momentum,
        nesterov=settings.nesterov,
        trust_coefficient=settings.lars_trust_coefficient,
        weight_decay=settings.weight_decay,
        clip_norm=settings.gradient_clip_norm,
    )


def _adamw(settings: OptimizerConfig) -> Optimizer:
    return optimizers.AdamW(
        beta1=settings.adam_beta1,
        beta2=settings.adam_beta2,
        epsilon=settings.adam_epsilon,
        weight_decay=settings.weight_decay,
        clip_norm=settings.gradient_clip_norm,
    )


_OPTIMIZERS: Mapping[str, Callable[[OptimizerConfig], Optimizer]] = MappingProxyType(
    {"sgd": _sgd, "lars": _lars, "adamw": _adamw}
)
