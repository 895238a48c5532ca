import pytest

from trainer.preflight.layer_names import Layer, layer_of, of_variable


@pytest.mark.parametrize(
    ("op_name", "layer"),
    [
        ("group1/block2/conv1/Conv2D", Layer("group1/block2/conv1", False)),
        ("group1/block3/add", Layer("group1/block3", False)),
        ("gradients/group1/block2/conv1/Conv2D_grad/Conv2DBackpropInput", Layer("group1/block2/conv1", True)),
        ("gradients_1/stem/MaxPool2d_grad/MaxPoolGrad", Layer("stem", True)),
        ("gradient_tape/dense/matmul/MatMul", Layer("dense/matmul", True)),
        ("gradients/Conv2D_grad/Conv2DBackpropFilter", Layer("Conv2D", True)),
        ("stem/Relu;stem/conv1/Conv2D", Layer("stem", False)),
        ("Mean", Layer("Mean", False)),
        ("gradients", Layer("", True)),
        ("", Layer("", False)),
    ],
)
def test_layer_of(op_name, layer):
    assert layer_of(op_name) == layer


@pytest.mark.parametrize(
    ("op_name", "name"), [("state[1]", "head/bias"), ("state[2]", "state[2]"), ("head/MatMul", "head/MatMul")]
)
def test_what_moves_a_variable_bears_its_name(op_name, name):
    assert of_variable(op_name, ("head/kernel", "head/bias")) == name
