import pytest
import tensorflow as tf

from trainer.errors import UserError
from trainer.preflight import tensor_specs


@pytest.mark.parametrize(
    ("text", "specs"),
    [
        ("uint8[224,224,3]", tf.TensorSpec([None, 224, 224, 3], tf.uint8)),
        ("int32[]", tf.TensorSpec([None], tf.int32)),
        ("image=uint8[32, 32, 3]", {"image": tf.TensorSpec([None, 32, 32, 3], tf.uint8)}),
        (
            "image=uint8[8,8,3],weight=float32[]",
            {"image": tf.TensorSpec([None, 8, 8, 3], tf.uint8), "weight": tf.TensorSpec([None], tf.float32)},
        ),
    ],
)
def test_parse(text, specs):
    assert tensor_specs.parse(text) == specs


@pytest.mark.parametrize("text", ["", "uint8", "uint8[8", "int33[8]", "uint8[8],int32[]", "image=uint8[8] oops"])
def test_other_text_is_refused(text):
    with pytest.raises(UserError, match=r"write uint8\[224,224,3\]"):
        tensor_specs.parse(text)
