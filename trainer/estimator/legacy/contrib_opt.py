"""What `tf.contrib.opt` had and the programs use: LARS."""

from collections.abc import Sequence
from typing import Any

import tensorflow as tf


class LARSOptimizer(tf.compat.v1.train.Optimizer):
    """Momentum with a learning rate of its own for each variable (You et al., 2017, arXiv:1708.03888).

    A step on the weights `w` with gradient `g`, momentum buffer `v` and learning rate `r`:

        trust = eeta |w| / (|g| + weight_decay |w| + epsilon), 1 where |w| or |g| is 0
        v = momentum v + r trust (g + weight_decay w)
        w = w - v, or w - (momentum v + r trust (g + weight_decay w)) with use_nesterov

    Variables that `skip_list` names, and sparse gradients, get momentum alone. The slot is called `name`.

    Args:
      learning_rate, momentum, weight_decay, epsilon: floats, or float scalar tensors for the first two.
      eeta: the trust coefficient.
      name: of operations and slots.
      skip_list: parts of variables' names; a variable whose name has one of them is neither decayed nor scaled.
      use_nesterov: see above.

    Raises:
      ValueError: momentum or weight decay is negative.
    """

    def __init__(  # noqa: PLR0913, PLR0917 - the signature that programs rely on
        self,
        learning_rate: Any,
        momentum: Any = 0.9,
        weight_decay: float = 0.0001,
        eeta: float = 0.001,
        epsilon: float = 0.0,
        name: str = "LARSOptimizer",
        skip_list: Sequence[str] | None = None,
        use_nesterov: bool = False,
    ):
        for what, value in (("momentum", momentum), ("weight_decay", weight_decay)):
            if not tf.is_tensor(value) and value < 0:
                raise ValueError(f"LARSOptimizer: {what} must not be negative, got {value}")
        super().__init__(use_locking=False, name=name)
        self._learning_rate = learning_rate
        self._momentum = momentum
        self._weight_decay = weight_decay
        self._trust_coefficient = eeta
        self._epsilon = epsilon
        self._skip_list = tuple(skip_list or ())
        self._use_nesterov = use_nesterov

    def _create_slots(self, var_list: Sequence[tf.Variable]) -> None:
        for variable in var_list:
            self._zeros_slot(variable, "momentum", self._name)

    def _resource_apply_dense(self, grad: tf.Tensor, var: tf.Variable) -> tf.Operation:
        rate = tf.cast(self._learning_rate, grad.dtype)
        if not any(part in var.name for part in self._skip_list):
            rate *= self._trust(grad, var)
            grad += self._weight_decay * var
        return tf.raw_ops.ResourceApplyMomentum(
            var=var.handle,
            accum=self.get_slot(var, "momentum").handle,
            lr=tf.ones([], grad.dtype),
            grad=rate * grad,
            momentum=tf.cast(self._momentum, grad.dtype),
            use_nesterov=self._use_nesterov,
        )

    def _resource_apply_sparse(self, grad: tf.Tensor, handle: tf.Variable, indices: tf.Tensor) -> tf.Operation:
        return tf.raw_ops.ResourceSparseApplyMomentum(
            var=handle.handle,
            accum=self.get_slot(handle, "momentum").handle,
            lr=tf.cast(self._learning_rate, grad.dtype),
            grad=grad,
            indices=indices,
            momentum=tf.cast(self._momentum, grad.dtype),
            use_nesterov=self._use_nesterov,
        )

    def _trust(self, grad: tf.Tensor, var: tf.Variable) -> tf.Tensor:
        weight_norm, gradient_norm = tf.norm(var), tf.norm(grad)
        divisor = gradient_norm + self._weight_decay * weight_norm + self._epsilon
        trust = self._trust_coefficient * tf.math.divide_no_nan(weight_norm, divisor)
        return tf.where((weight_norm > 0) & (gradient_norm > 0), trust, tf.ones_like(trust))
