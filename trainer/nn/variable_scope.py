"""Names of operations that tell which variable they are for: profiles and `preflight` show them by layer."""

from contextlib import AbstractContextManager

import tensorflow as tf


def of(variable: tf.Variable) -> AbstractContextManager[str]:
    """Names the operations of the `with` block `<variable>/...`, in whatever scope it stands."""
    return tf.name_scope(f"{variable.name.partition(':')[0]}/")
