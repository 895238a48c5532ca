import tensorflow as tf

from trainer.models import cost
from trainer.models.network import Network, NetworkOutputs
from trainer.nn.layers import Conv2D, ConvolutionShape, Dense, global_average_pool


class TinyNetwork(Network):
    """A grouped and strided convolution, and a matrix product."""

    def __init__(self):
        super().__init__()
        self._convolution = Conv2D(ConvolutionShape(6, 3, strides=2, num_groups=3), name="conv")
        self._dense = Dense(4, name="dense")

    def __call__(self, images, forward):
        features = self._convolution(images, forward)
        return NetworkOutputs(self._dense(global_average_pool(features), forward))


def test_parameters_and_flops_are_counted():
    counted = cost.network_cost(TinyNetwork(), image_size=8)
    assert counted.num_parameters == 3 * 3 * 1 * 6 + 6 * 4 + 4
    assert counted.forward_flops == 2 * (4 * 4 * 6 * 3 * 3 * 1 + 6 * 4)


def test_nothing_is_left_in_the_default_graph():
    before = len(tf.compat.v1.get_default_graph().get_operations())
    cost.network_cost(TinyNetwork(), image_size=8)
    assert len(tf.compat.v1.get_default_graph().get_operations()) == before
