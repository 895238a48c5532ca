"""The counter of a graph from which random operations without a seed of their own take one, the graph's seed beside it.

In TensorFlow 1 input_fn and model_fn shared a graph: the model's first values went on where the input's shuffle ended.
"""

import tensorflow as tf
from tensorflow.python.framework import random_seed


def count(graph: tf.Graph) -> int:
    """Returns how many operations of a graph have taken a seed from its counter."""
    return random_seed._graph_to_seed_dict.get(graph, 0)


def advance(num_seeds: int) -> None:
    """Lets the counter of the default graph go on behind seeds that others have taken."""
    graph = tf.compat.v1.get_default_graph()
    random_seed._graph_to_seed_dict[graph] = count(graph) + num_seeds
