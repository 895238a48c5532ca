"""Optimizers: gradient mean over replicas, clipping, then one update rule; slots are variables named after theirs.

Weight decay and LARS scaling touch kernels only, which are the variables of rank 2 and more: biases and the scale and
offset of normalisation keep their size.
"""

from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from trainer.nn import cross_replica, variable_scope


class Optimizer:
    """The base of all optimizers; `clip_norm` bounds the global norm of the mean gradient, 0 for no bound."""

    def __init__(self, *, weight_decay: float = 0.0, clip_norm: float = 0.0):
        self._weight_decay = weight_decay
        self._clip_norm = clip_norm
        self._slots: dict[tuple[Any, str], tf.Variable] = {}

    def apply(
        self, gradients: Sequence[tf.Tensor], variables: Sequence[tf.Variable], learning_rate: tf.Tensor | float
    ) -> None:
        """Updates `variables` once.

        Args:
          gradients: of this replica's mean loss; their mean over replicas is taken here.
          variables: in the same order.
          learning_rate: scalar.

        Raises:
          ValueError: a variable has no gradient: the loss does not depend on it.
        """
        unused = [variable.name for gradient, variable in zip(gradients, variables, strict=True) if gradient is None]
        if unused:
            raise ValueError(f"the loss does not depend on {', '.join(unused)}")
        gradients = [_mean_gradient(*pair) for pair in zip(gradients, variables, strict=True)]
        if self._clip_norm:
            gradients, _ = tf.clip_by_global_norm(gradients, self._clip_norm)
        for gradient, variable in zip(gradients, variables, strict=True):
            with variable_scope.of(variable):
                self._update(variable, tf.cast(gradient, variable.dtype), learning_rate)

    def _update(self, variable: tf.Variable, gradient: tf.Tensor, learning_rate: tf.Tensor | float) -> None:
        raise NotImplementedError

    def _decay_of(self, variable: tf.Variable) -> float:
        return self._weight_decay if variable.shape.rank > 1 else 0.0

    def _slot(self, variable: tf.Variable, name: str) -> tf.Variable:
        """Returns the zero-initialised variable `<variable>/<name>`, made at the first update."""
        key = (variable.ref(), name)
        if key not in self._slots:
            full_name = f"{variable.name.partition(':')[0]}/{name}"
            self._slots[key] = _zero_variable(full_name, variable.shape, variable.dtype)
        return self._slots[key]


def _mean_gradient(gradient: tf.Tensor, variable: tf.Variable) -> tf.Tensor:
    with variable_scope.of(variable):
        (mean,) = cross_replica.mean_over_replicas([gradient])
    return mean


def _zero_variable(name: str, shape: tf.TensorShape, dtype: tf.DType) -> tf.Variable:
    with tf.name_scope(""):
        return tf.Variable(lambda: tf.zeros(shape, dtype), trainable=False, name=name)


class SGD(Optimizer):
    """Gradient descent with momentum, optionally Nesterov's; weight decay is part of the gradient (an L2 penalty)."""

    def __init__(
        self, *, momentum: float = 0.9, nesterov: bool = False, weight_decay: float = 0.0, clip_norm: float = 0.0
    ):
        super().__init__(weight_decay=weight_decay, clip_norm=clip_norm)
        self._momentum = momentum
        self._nesterov = nesterov

    def _update(self, variable: tf.Variable, gradient: tf.Tensor, learning_rate: tf.Tensor | float) -> None:
        if decay := self._decay_of(variable):
            gradient += decay * variable
        slot = self._slot(variable, "momentum")
        velocity = self._momentum * slot + gradient
        slot.assign(velocity)
        direction = gradient + self._momentum * velocity if self._nesterov else velocity
        variable.assign_sub(learning_rate * direction)


class LARS(Optimizer):
    """Layer-wise adaptive rates for large batches (You et al. 2017, arXiv 1708.03888).

    A kernel's step is scaled by `trust_coefficient * |w| / (|g| + weight_decay * |w|)`; the learning rate is inside the
    momentum, as in the MLPerf reference. Other variables follow plain momentum.
    """

    def __init__(
        self,
        *,
        momentum: float = 0.9,
        nesterov: bool = False,
        trust_coefficient: float = 0.001,
        weight_decay: float = 0.0,
        clip_norm: float = 0.0,
    ):
        super().__init__(weight_decay=weight_decay, clip_norm=clip_norm)
        self._momentum = momentum
        self._nesterov = nesterov
        self._trust_coefficient = trust_coefficient

    def _update(self, variable: tf.Variable, gradient: tf.Tensor, learning_rate: tf.Tensor | float) -> None:
        if variable.shape.rank > 1:
            trust = self._trust(tf.norm(variable), tf.norm(gradient))
            gradient = trust * (gradient + self._weight_decay * variable)
        slot = self._slot(variable, "momentum")
        velocity = self._momentum * slot + learning_rate * gradient
        slot.assign(velocity)
        variable.assign_sub(self._momentum * velocity + learning_rate * gradient if self._nesterov else velocity)

    def _trust(self, weight_norm: tf.Tensor, gradient_norm: tf.Tensor) -> tf.Tensor:
        """Returns the scale of a kernel's step; 1 for a kernel or gradient of zeros, which could never leave 0."""
        ratio = self._trust_coefficient * weight_norm / (gradient_norm + self._weight_decay * weight_norm)
        return tf.where((weight_norm > 0) & (gradient_norm > 0), ratio, 1.0)


class AdamW(Optimizer):
    """Adam with decoupled weight decay, scaled by the learning rate (Loshchilov and Hutter 2019, arXiv 1711.05101)."""

    def __init__(
        self,
        *,
        beta1: float = 0.9,
        beta2: float = 0.999,
        epsilon: float = 1e-8,
        weight_decay: float = 0.0,
        clip_norm: float = 0.0,
    ):
        super().__init__(weight_decay=weight_decay, clip_norm=clip_norm)
        self._betas = (beta1, beta2)
        self._epsilon = epsilon
        self._num_updates: tf.Variable | None = None

    def apply(
        self, gradients: Sequence[tf.Tensor], variables: Sequence[tf.Variable], learning_rate: tf.Tensor | float
    ) -> None:
        """Updates `variables` once; see `Optimizer.apply`."""
        if self._num_updates is None:
            self._num_updates = _zero_variable("adam/num_updates", tf.TensorShape([]), tf.int64)
        self._num_updates.assign_add(1)
        super().apply(gradients, variables, learning_rate)

    def _update(self, variable: tf.Variable, gradient: tf.Tensor, learning_rate: tf.Tensor | float) -> None:
        mean = self._moving(self._slot(variable, "adam_mean"), gradient, self._betas[0])
        square = self._moving(self._slot(variable, "adam_mean_of_squares"), tf.square(gradient), self._betas[1])
        direction = mean / (tf.sqrt(square) + self._epsilon) + self._decay_of(variable) * variable
        variable.assign_sub(learning_rate * direction)

    def _moving(self, slot: tf.Variable, value: tf.Tensor, beta: float) -> tf.Tensor:
        """Moves `slot` towards `value`; returns it corrected for its start at 0."""
        moved = beta * slot + (1.0 - beta) * value
        slot.assign(moved)
        return moved / (1.0 - beta ** tf.cast(self._num_updates, tf.float32))
