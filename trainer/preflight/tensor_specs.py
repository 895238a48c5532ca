"""Shapes and types of a batch as they are written on a command line."""

import re
from typing import Any

import tensorflow as tf

from trainer.errors import UserError

_TENSOR = re.compile(r"(?:(?P<name>[\w/.]+)=)?(?P<dtype>\w+)\[(?P<shape>[\d,\s]*)\]")
_REMEDY = "write uint8[224,224,3], or image=uint8[224,224,3],weight=float32[]; the batch axis is left out"


def parse(text: str) -> Any:
    """Returns the specs that `text` describes, a batch axis of unknown size before each shape.

    `uint8[224,224,3]` gives one `tf.TensorSpec`, `image=uint8[224,224,3],weight=float32[]` a dictionary.

    Raises:
      UserError: when the text is of another form.
    """
    matches = list(_TENSOR.finditer(text))
    rest = _TENSOR.sub("", text).replace(",", "").strip()
    names = [match["name"] for match in matches]
    if rest or not matches or (len(matches) > 1 and None in names):
        raise UserError("no description of tensors", where=text, remedy=_REMEDY)
    if names == [None]:
        return _spec(matches[0], text)
    return {match["name"]: _spec(match, text) for match in matches}


def _spec(match: re.Match[str], text: str) -> tf.TensorSpec:
    try:
        dtype = tf.as_dtype(match["dtype"])
    except TypeError as error:
        raise UserError(f"no such type: {match['dtype']}", where=text, remedy=_REMEDY) from error
    sizes = [int(size) for size in match["shape"].split(",") if size.strip()]
    return tf.TensorSpec([None, *sizes], dtype)
