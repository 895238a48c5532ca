"""Learning rates as pure functions of the step: warm-up, then one of three decays."""

import dataclasses
import math

import tensorflow as tf


@dataclasses.dataclass(frozen=True)
class Schedule:
    """Linear warm-up to `peak`, then `kind`: cosine (to 0 at the end of training), stepwise or constant.

    `decay_epochs` are the epochs, from the start of training, at which stepwise multiplies the rate by `decay_factor`.
    """

    kind: str
    peak: float
    steps_per_epoch: float
    train_epochs: float
    warmup_epochs: float = 0.0
    decay_epochs: tuple[float, ...] = ()
    decay_factor: float = 0.1

    def __post_init__(self):
        if self.kind not in ("cosine", "stepwise", "constant"):
            raise ValueError(f"unknown schedule {self.kind!r}")
        if self.steps_per_epoch <= 0:
            raise ValueError(f"steps_per_epoch is {self.steps_per_epoch}")

    def __call__(self, step: tf.Tensor | int) -> tf.Tensor:
        """Returns the float32 learning rate of the update that follows global step `step` (0 for the first)."""
        epoch = tf.cast(step, tf.float32) / self.steps_per_epoch
        return self.peak * self._warmup(step) * self._decay(epoch)

    def _warmup(self, step: tf.Tensor | int) -> tf.Tensor:
        warmup_steps = self.warmup_epochs * self.steps_per_epoch
        if warmup_steps < 1:
            return tf.constant(1.0)
        # From one step on, not 0: a first update of rate 0 would be a wasted step.
        return tf.minimum((tf.cast(step, tf.float32) + 1.0) / warmup_steps, 1.0)

    def _decay(self, epoch: tf.Tensor) -> tf.Tensor:
        if self.kind == "stepwise":
            num_decays = tf.reduce_sum(tf.cast(epoch >= tf.constant(self.decay_epochs, tf.float32), tf.float32))
            return self.decay_factor**num_decays
        decaying_epochs = self.train_epochs - self.warmup_epochs
        if self.kind == "constant" or decaying_epochs <= 0:
            return tf.constant(1.0)
        share = tf.clip_by_value((epoch - self.warmup_epochs) / decaying_epochs, 0.0, 1.0)
        return 0.5 * (1.0 + tf.cos(math.pi * share))
