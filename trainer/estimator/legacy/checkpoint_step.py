"""How far a model has been trained: a function that programs take from inside the estimator's modules."""

import tensorflow as tf

from trainer.estimator.eager import eagerly


@eagerly
def load_global_step(model_dir: str) -> int:
    """Returns the global step of the newest checkpoint in `model_dir`, 0 if there is none."""
    path = tf.train.latest_checkpoint(model_dir)
    if path is None:
        return 0
    return int(tf.train.load_checkpoint(path).get_tensor(tf.compat.v1.GraphKeys.GLOBAL_STEP))


# The private name under which programs know it.
_load_global_step_from_checkpoint_dir = load_global_step
