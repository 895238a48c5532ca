import numpy as np
import pytest
import scipy.stats
import tensorflow as tf

from trainer.nn import mixing
from trainer.nn.mixing import Mixing
from trainer.nn.random_key import RandomKey

KEY = RandomKey(seed=1, step=2)
BATCH = 16
# Image i is everywhere i, so that a mixed pixel tells its shares.
IMAGES = tf.cast(tf.reshape(tf.range(BATCH), [BATCH, 1, 1, 1]), tf.float32) * tf.ones([1, 10, 8, 3])
TARGETS = tf.eye(BATCH)


@pytest.mark.parametrize("alpha", [0.1, 0.2, 1.0, 4.0])
def test_beta_samples_follow_the_beta_distribution(alpha):
    samples = mixing.beta_samples(KEY, 20_000, alpha).numpy().astype(np.float64)
    reference = scipy.stats.beta(alpha, alpha).rvs(20_000, random_state=0)
    # Four decimals: float32 cannot tell 1 - 1e-8 from 1, and Beta(0.1, 0.1) often comes closer.
    assert scipy.stats.ks_2samp(samples.round(4), reference.round(4)).pvalue > 0.01


@pytest.mark.parametrize("alpha", [0.01, 0.2, 100.0])
def test_beta_samples_are_finite_shares(alpha):
    samples = mixing.beta_samples(KEY, 100_000, alpha).numpy()
    assert np.all((samples >= 0) & (samples <= 1))


@pytest.mark.parametrize("mix", [Mixing(mixup_alpha=0.4), Mixing(cutmix_alpha=1.0), Mixing(0.4, 1.0)])
def test_targets_are_mixed_as_the_pixels_are(mix):
    images, targets = mix(IMAGES, TARGETS, KEY)
    shares = targets.numpy()[np.arange(BATCH), np.arange(BATCH)]
    partners = np.arange(BATCH)[::-1]
    expected = shares * np.arange(BATCH) + (1 - shares) * partners
    np.testing.assert_allclose(images.numpy().mean((1, 2, 3)), expected, atol=1e-4)
    np.testing.assert_allclose(targets.numpy().sum(axis=1), 1.0, atol=1e-6)
    assert shares.std() > 0.01


def test_mixup_keeps_the_larger_share():
    _, targets = Mixing(mixup_alpha=1.0)(IMAGES, TARGETS, KEY)
    assert np.all(np.diag(targets) >= 0.5)


def test_cutmix_pastes_a_rectangle():
    images, _ = Mixing(cutmix_alpha=1.0)(IMAGES, TARGETS, KEY)
    is_pasted = images.numpy()[..., 0] != IMAGES.numpy()[..., 0]
    for example in is_pasted:
        rows, columns = example.any(axis=1), example.any(axis=0)
        np.testing.assert_array_equal(example, np.outer(rows, columns))
        assert np.abs(np.diff(rows)).sum() <= 2


def test_both_switched_on_use_both():
    images, _ = Mixing(0.4, 1.0)(IMAGES, TARGETS, KEY)
    whole = np.ptp(images.numpy(), axis=(1, 2, 3)) == 0
    assert whole.any()
    assert not whole.all()


@pytest.mark.slow
def test_mixing_compiles_with_xla():
    mix = tf.function(lambda images, targets: Mixing(0.4, 1.0)(images, targets, KEY), jit_compile=True)
    assert mix(IMAGES, TARGETS)[0].shape == IMAGES.shape
