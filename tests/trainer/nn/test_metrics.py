import numpy as np
import pytest
import sklearn.metrics
import tensorflow as tf

from trainer.nn import metrics

NUM_CLASSES = 5


def evaluate(make_metric, batches):
    """Sums statistics over batches, as an evaluation loop does."""
    sums, finalize = {}, None
    for batch in batches:
        metric = make_metric(*batch)
        finalize = metric.finalize
        for name, value in metric.statistics.items():
            sums[name] = sums.get(name, 0) + value.numpy()
    return finalize(sums)


@pytest.fixture(name="examples")
def fixture_examples():
    generator = np.random.default_rng(0)
    logits = generator.normal(size=(40, NUM_CLASSES)).astype(np.float32)
    labels = generator.integers(0, NUM_CLASSES, 40).astype(np.int32)
    return logits, labels


def padded_batches(arrays, batch_size):
    """Cuts arrays into batches; the last is padded with garbage of weight 0."""
    num_examples = len(arrays[0])
    for start in range(0, num_examples, batch_size):
        parts = [array[start : start + batch_size] for array in arrays]
        missing = batch_size - len(parts[0])
        weights = np.r_[np.ones(len(parts[0]), np.float32), np.zeros(missing, np.float32)]
        yield *(np.concatenate([part, part[:1].repeat(missing, axis=0)]) for part in parts), weights


@pytest.mark.parametrize("batch_size", [40, 7, 1])
@pytest.mark.parametrize("k", [1, 2, 4])
def test_top_k_accuracy_counts_each_real_example_once(examples, batch_size, k):
    value = evaluate(
        lambda logits, labels, weights: metrics.top_k_accuracy(logits, labels, k, weights),
        padded_batches(examples, batch_size),
    )
    assert value == pytest.approx(
        sklearn.metrics.top_k_accuracy_score(examples[1], examples[0], k=k, labels=range(NUM_CLASSES))
    )


def test_top_k_accuracy_clips_k_to_the_class_count(examples):
    assert evaluate(lambda *batch: metrics.top_k_accuracy(*batch, k=9), [examples]) == 1.0


def test_equal_logits_are_ranked_by_class_index():
    in_top = metrics.is_in_top_k(tf.zeros([4, 4]), tf.range(4), 2)
    np.testing.assert_array_equal(in_top, [True, True, False, False])


def test_a_row_with_nan_is_never_right():
    logits = tf.constant([[np.nan, 0.0], [0.0, np.nan]])
    assert not np.any(metrics.is_in_top_k(logits, tf.constant([0, 0]), 2))


def test_mean_ignores_values_of_weight_zero_even_when_not_finite():
    metric = metrics.mean(tf.constant([1.0, 4.0, np.nan]), tf.constant([1.0, 2.0, 0.0]))
    assert metric.finalize({name: value.numpy() for name, value in metric.statistics.items()}) == 3.0


def test_mean_of_nothing_is_nan_not_zero():
    assert np.isnan(evaluate(metrics.mean, [(tf.zeros([2]), tf.zeros([2]))]))


def test_counts_beyond_float32_stay_exact():
    metric = metrics.mean(tf.ones([1]))
    assert metric.finalize({"total": np.float64(2**24) + metric.statistics["total"].numpy(), "weight": 1}) == 2**24 + 1


@pytest.mark.parametrize("batch_size", [40, 7])
def test_confusion_matrix_precision_and_recall_agree_with_sklearn(examples, batch_size):
    predicted = examples[0].argmax(axis=1).astype(np.int32)
    arrays = (predicted, examples[1])

    def value(metric_fn):
        return evaluate(lambda *batch: metric_fn(*batch[:2], NUM_CLASSES, batch[2]), padded_batches(arrays, batch_size))

    np.testing.assert_array_equal(
        value(metrics.confusion_matrix), sklearn.metrics.confusion_matrix(examples[1], predicted)
    )
    precision, recall, _, _ = sklearn.metrics.precision_recall_fscore_support(examples[1], predicted)
    np.testing.assert_allclose(value(metrics.per_class_precision), precision)
    np.testing.assert_allclose(value(metrics.per_class_recall), recall)


def test_a_class_without_examples_has_no_recall():
    recall = evaluate(metrics.per_class_recall, [(tf.constant([0]), tf.constant([0]), 2)])
    np.testing.assert_array_equal(recall, [1.0, np.nan])
