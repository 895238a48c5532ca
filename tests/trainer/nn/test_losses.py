import numpy as np
import pytest
import tensorflow as tf
import tf_keras

from trainer.nn import losses

LOGITS = np.random.default_rng(0).normal(size=(6, 4)).astype(np.float32)
LABELS = np.array([0, 1, 2, 3, 1, 0], np.int32)


@pytest.mark.parametrize("label_smoothing", [0.0, 0.1])
def test_cross_entropy_agrees_with_keras(label_smoothing):
    targets = losses.one_hot_targets(tf.constant(LABELS), 4)
    values = losses.softmax_cross_entropy(LOGITS, losses.smoothed_targets(targets, label_smoothing))
    reference = tf_keras.losses.CategoricalCrossentropy(
        from_logits=True, label_smoothing=label_smoothing, reduction="none"
    )
    np.testing.assert_allclose(values, reference(tf.one_hot(LABELS, 4), LOGITS), rtol=1e-5)


def test_cross_entropy_of_bfloat16_logits_is_taken_in_float32():
    values = losses.softmax_cross_entropy(tf.cast(LOGITS, tf.bfloat16), tf.one_hot(LABELS, 4))
    assert values.dtype == tf.float32


@pytest.mark.parametrize("label", [-1, 4])
def test_a_label_outside_the_classes_makes_the_loss_nan(label):
    values = losses.softmax_cross_entropy(LOGITS[:2], losses.one_hot_targets(tf.constant([0, label]), 4))
    np.testing.assert_array_equal(np.isnan(values), [False, True])


def test_weighted_mean_leaves_out_weight_zero():
    assert float(losses.weighted_mean(tf.constant([1.0, 4.0, np.nan]), tf.constant([1.0, 2.0, 0.0]))) == 3.0
    assert float(losses.weighted_mean(tf.constant([1.0]), tf.constant([0.0]))) == 0.0
