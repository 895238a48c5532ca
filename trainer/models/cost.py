"""What a network costs, counted on the network itself."""

import dataclasses
import math
from typing import Any

import tensorflow as tf

from trainer.models.network import Network
from trainer.nn.layers import ForwardPass
from trainer.nn.random_key import RandomKey

FLOPS_PER_MULTIPLY_ADD = 2


@dataclasses.dataclass(frozen=True)
class NetworkCost:
    """`num_parameters` are the trainable ones.

    `forward_flops` are those of one image: two for each multiply-add of a convolution or matrix product.
    """

    num_parameters: int
    forward_flops: int


def network_cost(network: Network, image_size: int) -> NetworkCost:
    """Traces `network` on one image, without computing anything, and counts."""

    @tf.function(autograph=False, input_signature=[tf.TensorSpec([1, image_size, image_size, 3])])
    def forward(images: tf.Tensor) -> tf.Tensor:
        with tf.variable_creator_scope(_zero_variable):
            return network(images, ForwardPass(is_training=False, key=RandomKey(0))).logits

    operations = forward.get_concrete_function().graph.get_operations()
    return NetworkCost(
        num_parameters=sum(variable.shape.num_elements() for variable in network.trainable_variables),
        forward_flops=FLOPS_PER_MULTIPLY_ADD * sum(map(_multiply_adds, operations)),
    )


def _zero_variable(next_creator: Any, **arguments: Any) -> tf.Variable:
    """Makes a variable of zeros, outside the trace: nobody asks for its value, and that is the quickest."""
    with tf.init_scope():
        return next_creator(**(arguments | {"initial_value": tf.zeros(arguments["shape"])}))


def _multiply_adds(operation: tf.Operation) -> int:
    """Returns outputs times weights per output: all of the kernel but its last axis, or its area if depthwise."""
    if operation.type in ("Conv2D", "MatMul", "BatchMatMulV2"):
        return operation.outputs[0].shape.num_elements() * math.prod(operation.inputs[1].shape[:-1])
    if operation.type == "DepthwiseConv2dNative":
        return operation.outputs[0].shape.num_elements() * math.prod(operation.inputs[1].shape[:2])
    return 0
