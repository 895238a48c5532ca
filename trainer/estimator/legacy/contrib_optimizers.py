"""`tf.contrib.layers.optimize_loss`: a training operation in one call."""

import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import tensorflow as tf

_GradientsAndVariables = list[tuple[Any, Any]]

OPTIMIZER_CLS_NAMES: Mapping[str, Callable[..., Any]] = {
    "Adagrad": tf.compat.v1.train.AdagradOptimizer,
    "Adam": tf.compat.v1.train.AdamOptimizer,
    "Ftrl": tf.compat.v1.train.FtrlOptimizer,
    "Momentum": lambda learning_rate: tf.compat.v1.train.MomentumOptimizer(learning_rate, momentum=0.9),
    "RMSProp": tf.compat.v1.train.RMSPropOptimizer,
    "SGD": tf.compat.v1.train.GradientDescentOptimizer,
}
OPTIMIZER_SUMMARIES = ("learning_rate", "loss", "gradients", "gradient_norm", "global_gradient_norm")


def optimize_loss(  # noqa: PLR0913, PLR0917 - the signature that programs rely on
    loss: tf.Tensor,
    global_step: Any,
    learning_rate: float | tf.Tensor | None,
    optimizer: Any,
    gradient_noise_scale: float | None = None,
    gradient_multipliers: Mapping[Any, Any] | None = None,
    clip_gradients: float | Callable[[_GradientsAndVariables], _GradientsAndVariables] | None = None,
    learning_rate_decay_fn: Callable[[Any, Any], Any] | None = None,
    update_ops: Iterable[Any] | None = None,
    variables: Sequence[Any] | None = None,
    name: str | None = None,
    summaries: Iterable[str] | None = None,
    colocate_gradients_with_ops: bool = False,
    increment_global_step: bool = True,
) -> tf.Tensor:
    """Returns the loss, after a step of training.

    Args:
      loss: float scalar.
      global_step: its variable; None for the graph's.
      learning_rate: a number becomes the variable `OptimizeLoss/learning_rate`; None for the optimizer's own.
      optimizer: a name of `OPTIMIZER_CLS_NAMES`, an optimizer, its class, or a function of the learning rate.
      gradient_noise_scale: not supported.
      gradient_multipliers: factors by variable, or by its name.
      clip_gradients: the largest global norm, or a function of gradients and variables.
      learning_rate_decay_fn: a function of learning rate and step that returns the learning rate.
      update_ops: what runs before; None for the collection `UPDATE_OPS`.
      variables: what is trained; None for all that are trainable.
      name: of the variable scope.
      summaries: names of `OPTIMIZER_SUMMARIES`; None for the loss, the learning rate and the norm of all gradients.
      colocate_gradients_with_ops: as for `Optimizer.compute_gradients`.
      increment_global_step: whether the step counts.

    Raises:
      ValueError: the optimizer is none of these, or the gradients are to be noisy.
    """
    if gradient_noise_scale is not None:
        raise ValueError("optimize_loss: gradient_noise_scale is not supported; leave it out")
    summaries = ("loss", "learning_rate", "global_gradient_norm") if summaries is None else tuple(summaries)
    with tf.compat.v1.variable_scope(name, "OptimizeLoss", [loss, global_step]):
        step = tf.compat.v1.train.get_or_create_global_step() if global_step is None else global_step
        waiting = tf.compat.v1.get_collection(tf.compat.v1.GraphKeys.UPDATE_OPS) if update_ops is None else update_ops
        with tf.control_dependencies(list(waiting)):
            loss = tf.identity(loss)
        rate = _learning_rate(learning_rate, learning_rate_decay_fn, step)
        made = _optimizer(optimizer, rate)
        gradients = made.compute_gradients(loss, variables, colocate_gradients_with_ops=colocate_gradients_with_ops)
        gradients = _multiplied(gradients, gradient_multipliers or {})
        _summarise(summaries, loss, rate, gradients)
        gradients = _clipped(gradients, clip_gradients)
        update = made.apply_gradients(gradients, step if increment_global_step else None, name="train")
        with tf.control_dependencies([update]):
            return tf.identity(loss)


def _learning_rate(rate: Any, decay_fn: Callable[[Any, Any], Any] | None, step: Any) -> Any:
    if rate is None:
        return None
    if not tf.is_tensor(rate):
        first = tf.compat.v1.constant_initializer(float(rate))
        rate = tf.compat.v1.get_variable("learning_rate", [], trainable=False, initializer=first)
    return rate if decay_fn is None else decay_fn(rate, step)


def _optimizer(given: Any, rate: Any) -> Any:
    if isinstance(given, str):
        if given not in OPTIMIZER_CLS_NAMES:
            raise ValueError(f"optimize_loss: unknown optimizer {given!r}; there are {', '.join(OPTIMIZER_CLS_NAMES)}")
        if rate is None:
            raise ValueError(f"optimize_loss: optimizer {given!r} needs a learning_rate; it is None")
        given = OPTIMIZER_CLS_NAMES[given]
    if isinstance(given, tf.compat.v1.train.Optimizer):
        return given
    if not callable(given):
        raise ValueError(f"optimize_loss: optimizer is {given!r}; give a name, an optimizer, a class or a function")
    if rate is None:
        return given()
    return given(rate) if inspect.isclass(given) or inspect.signature(given).parameters else given()


def _multiplied(gradients: _GradientsAndVariables, factors: Mapping[Any, Any]) -> _GradientsAndVariables:
    by_name = {
        key.removesuffix(":0") if isinstance(key, str) else key.op.name: factor for key, factor in factors.items()
    }
    return [(_times(gradient, by_name.get(variable.op.name)), variable) for gradient, variable in gradients]


def _times(gradient: Any, factor: Any) -> Any:
    if gradient is None or factor is None:
        return gradient
    if isinstance(gradient, tf.IndexedSlices):
        return tf.IndexedSlices(gradient.values * factor, gradient.indices, gradient.dense_shape)
    return gradient * factor


def _clipped(gradients: _GradientsAndVariables, clip: Any) -> _GradientsAndVariables:
    if clip is None:
        return gradients
    if callable(clip):
        return clip(gradients)
    values, variables = zip(*gradients, strict=True)
    clipped, _ = tf.clip_by_global_norm(values, clip)
    return list(zip(clipped, variables, strict=True))


def _summarise(names: Sequence[str], loss: tf.Tensor, rate: Any, gradients: _GradientsAndVariables) -> None:
    scalar = tf.compat.v1.summary.scalar
    if "loss" in names:
        scalar("loss", loss)
    if "learning_rate" in names and rate is not None:
        scalar("learning_rate", rate)
    there = [(gradient, variable) for gradient, variable in gradients if gradient is not None]
    if "global_gradient_norm" in names:
        scalar("global_norm/gradient_norm", tf.linalg.global_norm([gradient for gradient, _ in there]))
    for gradient, variable in there:
        if "gradients" in names:
            tf.compat.v1.summary.histogram(f"gradients/{variable.op.name}", gradient)
        if "gradient_norm" in names:
            scalar(f"gradient_norm/{variable.op.name}", tf.linalg.global_norm([gradient]))
