"""The peer: a ResNet-50 v1.5 training step in flax, bfloat16 activations, SGD with Nesterov momentum.

The network of flax's ImageNet example: strides in the 3x3 convolutions, last scale of each block 0, float32 weights
and statistics. Needs flax and optax, which the project itself does not.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import linen

IMAGE_SIZE = 224
NUM_CLASSES = 1000
_WEIGHT_DECAY = 1e-4
_OPTIMIZER = optax.sgd(0.1, momentum=0.9, nesterov=True)
_BLOCKS = (3, 4, 6, 3)


class Bottleneck(linen.Module):
    """1x1, 3x3, 1x1 convolutions beside a shortcut."""

    filters: int
    strides: int
    norm: Any

    @linen.compact
    def __call__(self, inputs):
        """Returns `[batch, height / strides, width / strides, 4 * filters]`."""
        conv = functools.partial(linen.Conv, use_bias=False, dtype=jnp.bfloat16)
        residual = linen.relu(self.norm()(conv(self.filters, (1, 1))(inputs)))
        residual = linen.relu(self.norm()(conv(self.filters, (3, 3), (self.strides,) * 2)(residual)))
        residual = self.norm(scale_init=linen.initializers.zeros)(conv(4 * self.filters, (1, 1))(residual))
        if inputs.shape != residual.shape:
            inputs = self.norm()(conv(4 * self.filters, (1, 1), (self.strides,) * 2)(inputs))
        return linen.relu(inputs + residual)


class ResNet50(linen.Module):
    """ResNet-50."""

    @linen.compact
    def __call__(self, images):
        """Returns float32 logits of bfloat16 `[batch, 224, 224, 3]`."""
        norm = functools.partial(
            linen.BatchNorm, use_running_average=False, momentum=0.9, epsilon=1e-5, dtype=jnp.bfloat16
        )
        outputs = linen.Conv(64, (7, 7), (2, 2), padding=[(3, 3)] * 2, use_bias=False, dtype=jnp.bfloat16)(images)
        outputs = linen.max_pool(linen.relu(norm()(outputs)), (3, 3), (2, 2), padding="SAME")
        for group, num_blocks in enumerate(_BLOCKS):
            for block in range(num_blocks):
                outputs = Bottleneck(64 * 2**group, 2 if group > 0 and block == 0 else 1, norm)(outputs)
        return linen.Dense(NUM_CLASSES, dtype=jnp.bfloat16)(outputs.mean((1, 2))).astype(jnp.float32)


def initial_state() -> Any:
    """Returns (parameters, batch statistics, optimizer state)."""
    variables = ResNet50().init(jax.random.key(0), jnp.zeros((2, IMAGE_SIZE, IMAGE_SIZE, 3), jnp.bfloat16))
    return variables["params"], variables["batch_stats"], _OPTIMIZER.init(variables["params"])


def train_step(state: Any, images: jax.Array, labels: jax.Array) -> tuple[Any, jax.Array]:
    """Returns the next state and the loss of uint8 images and int32 labels."""
    parameters, statistics, optimizer_state = state
    normalised = ((images.astype(jnp.float32) - 118.0) * (1 / 57.0)).astype(jnp.bfloat16)

    def loss_fn(parameters):
        variables = {"params": parameters, "batch_stats": statistics}
        logits, updates = ResNet50().apply(variables, normalised, mutable=["batch_stats"])
        loss = optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()
        decay = sum(jnp.sum(weight**2) for weight in jax.tree.leaves(parameters) if weight.ndim > 1)
        return loss + 0.5 * _WEIGHT_DECAY * decay, updates["batch_stats"]

    (loss, statistics), gradients = jax.value_and_grad(loss_fn, has_aux=True)(parameters)
    updates, optimizer_state = _OPTIMIZER.update(gradients, optimizer_state, parameters)
    return (optax.apply_updates(parameters, updates), statistics, optimizer_state), loss
