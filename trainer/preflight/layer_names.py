"""Which layer of the model an operation of the compiled program belongs to, read from the name of the traced one."""

import dataclasses
import re
from collections.abc import Sequence

# What TensorFlow puts before the names of gradients: tf.gradients, its later calls, and GradientTape.
_GRADIENT_SCOPES = ("gradients", "gradient_tape")


# How JAX calls an argument of the step; the batch has another name.
_STATE = re.compile(r"state\[(?P<index>\d+)\]")


@dataclasses.dataclass(frozen=True)
class Layer:
    """A layer's name, such as `group1/block2/conv1`, and whether the operation is of its backward pass."""

    name: str
    is_backward: bool


def layer_of(op_name: str) -> Layer:
    """Returns the layer that made the operation `op_name`.

    `group1/block2/conv1/Conv2D` and `gradients/group1/block2/conv1/Conv2D_grad/Conv2DBackpropInput` are both of
    `group1/block2/conv1`. An operation outside any layer keeps its own name; an empty name gives an empty layer.
    """
    parts = op_name.split(";", maxsplit=1)[0].split("/")
    is_backward = parts[0].startswith(_GRADIENT_SCOPES)
    if is_backward:
        parts = parts[1:]
        ends = [index for index, part in enumerate(parts) if part.endswith("_grad")]
        parts = parts[: ends[0] + 1] if ends else parts
    scopes = parts[:-1] or [parts[0].removesuffix("_grad")] if parts else []
    return Layer("/".join(scopes), is_backward)


def of_variable(op_name: str, variable_names: Sequence[str]) -> str:
    """Returns the name of the variable that `state[3]` stands for, the fourth; any other name as it is."""
    state = _STATE.fullmatch(op_name)
    if state is None or int(state["index"]) >= len(variable_names):  # constants come after the variables
        return op_name
    return variable_names[int(state["index"])]
