"""`tf.layers.BatchNormalization` as a base class: programs override how it finds mean and variance."""

import functools
import inspect
from typing import Any

from tf_keras.api._v1.keras.__internal__.legacy import layers


class BatchNormalization(layers.BatchNormalization):
    """Keras 2's layer, for subclasses whose `_moments` is of the time before masks."""

    def __init_subclass__(cls, **options: Any):
        super().__init_subclass__(**options)
        moments = vars(cls).get("_moments")
        if moments is not None and "mask" not in inspect.signature(moments).parameters:
            cls._moments = _without_mask(moments)


def _without_mask(moments: Any) -> Any:
    @functools.wraps(moments)
    def wrapped(self: Any, *arguments: Any, mask: Any = None, **options: Any) -> Any:
        if mask is not None:
            raise ValueError(
                f"{type(self).__name__} does not take masked inputs: its _moments has no argument for them"
            )
        return moments(self, *arguments, **options)

    return wrapped
