"""What stands for `tf.contrib`, each against its definition."""

import functools
import importlib
import itertools

import numpy as np
import pytest
import tensorflow as tf
import tf_keras

from trainer import replica
from trainer.errors import UserError
from trainer.estimator.legacy import (
    contrib_crf,
    contrib_data,
    contrib_framework,
    contrib_image,
    contrib_layers,
    contrib_metrics,
    contrib_opt,
    contrib_optimizers,
    facade,
    former_names,
    summary_writer,
    table,
)
from trainer.estimator.legacy.cluster_resolver import TPUClusterResolver
from trainer.estimator.legacy.hparams import HParams


def names():
    return [(path, name) for path, row in table.MODULES.items() for name in row.names]


@pytest.mark.parametrize(("path", "name"), names(), ids=".".join)
def test_every_name_of_the_table_is_there(path, name):
    assert facade.resolve(table.MODULES[path].names[name]) is not None


@pytest.mark.parametrize("path", former_names.FORMER_NAMES)
def test_every_former_name_is_there_and_is_needed(path):
    module = importlib.import_module(path)
    for name, target in former_names.FORMER_NAMES[path].items():
        assert facade.resolve(target) is not None
        assert path == "yaml" or not hasattr(module, name), f"{path}.{name} is there today"


@pytest.mark.parametrize("version", [1, 2])
def test_every_module_of_the_table_can_be_imported(version):
    facades = facade.Facades(version)
    for path in table.MODULES:
        assert facades.module(path).__name__ == path
    for path in table.KERAS_2[version]:
        assert facade.resolve(table.KERAS_2[version][path])


@pytest.mark.parametrize("version", [1, 2])
def test_keras_is_keras_2_on_every_road(version):
    facades = facade.Facades(version)
    roads = [
        facades.module("tensorflow").keras,
        facades.module("tensorflow.compat.v1").keras,
        facades.module("tensorflow.keras"),
        facades.module("tensorflow.python").keras,
        facades.module("tensorflow.python.keras"),
    ]
    assert {road.layers.Dense for road in roads} == {tf_keras.layers.Dense}
    assert facades.module("tensorflow.python.keras.backend") is tf_keras.src.backend


@pytest.fixture
def in_graph():
    with tf.Graph().as_default():
        yield


def evaluate(tensors):
    with tf.compat.v1.Session() as session:
        session.run(tf.compat.v1.global_variables_initializer())
        return session.run(tensors)


def test_layer_norm_has_mean_0_and_variance_1_over_the_axes_of_an_example(in_graph):
    inputs = tf.constant(np.random.default_rng(0).normal(3, 5, [2, 4, 6]), tf.float32)
    whole, last = (evaluate(contrib_layers.layer_norm(inputs, begin_norm_axis=axis)) for axis in (1, -1))
    np.testing.assert_allclose(whole.mean((1, 2)), 0, atol=1e-5)
    np.testing.assert_allclose(whole.var((1, 2)), 1, atol=1e-5)
    np.testing.assert_allclose(last.mean(2), 0, atol=1e-5)
    shapes = {variable.op.name: variable.shape.as_list() for variable in tf.compat.v1.trainable_variables()}
    assert shapes["LayerNorm/beta"] == shapes["LayerNorm_1/gamma"] == [6]


@pytest.mark.parametrize(("arguments", "variance"), [({}, 2.0 * 1.3 * 0.7737 / 400), ({"uniform": True}, 2.0 / 400)])
def test_variance_scaling_has_contribs_variance(in_graph, arguments, variance):
    weights = evaluate(contrib_layers.variance_scaling_initializer(seed=1, **arguments)([400, 500]))
    # A normal distribution cut at two standard deviations keeps 0.7737 of its variance.
    assert weights.var() == pytest.approx(variance, rel=0.02)


def test_xavier_is_glorots_uniform_distribution(in_graph):
    weights = evaluate(contrib_layers.xavier_initializer(seed=1)([300, 500]))
    assert np.abs(weights).max() == pytest.approx(np.sqrt(6 / 800), rel=1e-3)


def test_regularizers():
    weights = tf.constant([1.0, -2.0])
    assert contrib_layers.l1_regularizer(0.5)(weights) == 1.5
    assert contrib_layers.l2_regularizer(0.5)(weights) == 1.25
    assert contrib_layers.l2_regularizer(0.0)(weights) is None
    with pytest.raises(ValueError, match="negative"):
        contrib_layers.l1_regularizer(-1.0)


def test_batches_without_a_remainder():
    dataset = tf.data.Dataset.range(5)
    (batch, _) = dataset.apply(contrib_data.batch_and_drop_remainder(2))
    assert batch.shape == [2]
    ragged = dataset.map(tf.range).apply(contrib_data.padded_batch_and_drop_remainder(3, [None]))
    assert [batch.shape for batch in ragged] == [[3, 2]]


def test_images_are_turned_and_moved():
    image = np.arange(9, dtype=np.uint8).reshape(3, 3, 1)
    np.testing.assert_array_equal(contrib_image.rotate(image, np.pi / 2), np.rot90(image))
    np.testing.assert_array_equal(contrib_image.rotate(image[None], [np.pi])[0], image[::-1, ::-1])
    moved = contrib_image.translate(image[..., 0], [1, 0])
    np.testing.assert_array_equal(moved, [[0, 0, 1], [0, 3, 4], [0, 6, 7]])
    half = contrib_image.transform(image, [1, 0, 0.5, 0, 1, 0, 0, 0], "BILINEAR", output_shape=[1, 2])
    assert half.shape == [1, 2, 1]


def test_hyperparameters_keep_their_types():
    hparams = HParams(rate=0.1, units=8, name="relu", fast=False, sizes=[1, 2])
    hparams.parse("rate=1,units=16,name=a b,fast=True,sizes=[3,4,5],sizes[1]=9")
    assert hparams.values() == {"rate": 1.0, "units": 16, "name": "a b", "fast": True, "sizes": [3, 9, 5]}
    assert isinstance(hparams.rate, float)
    assert hparams.get("missing", 3) == 3
    assert "units" in hparams
    assert hparams.parse_json('{"units": 2}').override_from_dict({"sizes": [7]}).units == 2
    hparams.del_hparam("name")
    assert "name" not in hparams.to_json()
    for wrong in ("missing=1", "units=1.5", "fast=maybe", "units", "sizes=3.5"):
        with pytest.raises(ValueError, match=r"hyperparameter"):
            hparams.parse(wrong)
    with pytest.raises(ValueError, match="taken"):
        hparams.add_hparam("units", 1)


def test_a_resolver_gives_the_engine(monkeypatch):
    assert TPUClusterResolver("mock:8", zone="somewhere").master() == "mock:8"
    assert TPUClusterResolver(["local"]).get_master() == "local"
    assert TPUClusterResolver().master() == ""
    monkeypatch.setenv("TPU_NAME", "mock:2")
    assert TPUClusterResolver().master() == "mock:2"
    assert TPUClusterResolver("").master() == ""
    assert TPUClusterResolver("local", job_name="job").get_job_name() == "job"
    assert TPUClusterResolver("local").cluster_spec().jobs == []
    with pytest.raises(UserError, match="mock:8"):
        TPUClusterResolver("my-tpu")


def test_batch_normalization_takes_moments_of_the_time_before_masks(in_graph):
    layers = facade.Facades(1).module("tensorflow.layers")

    class Doubled(layers.BatchNormalization):
        def _moments(self, inputs, reduction_axes, keep_dims):
            mean, variance = super()._moments(inputs, reduction_axes, keep_dims=keep_dims)
            return 2 * mean, variance

    inputs = np.random.default_rng(0).normal(3, 1, [64, 5]).astype(np.float32)
    outputs = evaluate(Doubled(fused=False)(tf.constant(inputs), training=True))
    np.testing.assert_allclose(outputs.mean(0), -inputs.mean(0) / inputs.std(0), rtol=1e-2)


LARS_VALUES = {"kernel": [3.0, -4.0], "zeros": [0.0, 0.0], "bias": [1.0, 1.0]}


def lars_by_its_paper(weights, gradient, *, is_skipped, nesterov):
    """Three steps of You et al. (2017), in NumPy."""
    weights, buffer = np.array(weights), np.zeros(2)
    for _ in range(3):
        norm = np.linalg.norm(weights)
        decayed = gradient if is_skipped else gradient + 0.01 * weights
        trust = 1.0 if is_skipped or norm == 0 else 0.1 * norm / (np.linalg.norm(gradient) + 0.01 * norm + 1e-3)
        update = 0.5 * trust * decayed
        buffer = 0.9 * buffer + update
        weights = weights - (0.9 * buffer + update if nesterov else buffer)
    return weights


@pytest.mark.parametrize("nesterov", [False, True])
def test_lars_follows_its_paper_and_leaves_listed_variables_to_momentum(in_graph, nesterov):
    gradient = np.array([1.0, 2.0])
    variables = [
        tf.compat.v1.get_variable(name, initializer=value, use_resource=True) for name, value in LARS_VALUES.items()
    ]
    optimizer = contrib_opt.LARSOptimizer(
        0.5, weight_decay=0.01, eeta=0.1, epsilon=1e-3, skip_list=["bias"], use_nesterov=nesterov
    )
    apply = optimizer.apply_gradients([(tf.constant(gradient, tf.float32), variable) for variable in variables])
    with tf.compat.v1.Session() as session:
        session.run(tf.compat.v1.global_variables_initializer())
        for _ in range(3):
            session.run(apply)
        found = session.run(variables)
    expected = [
        lars_by_its_paper(value, gradient, is_skipped=name == "bias", nesterov=nesterov)
        for name, value in LARS_VALUES.items()
    ]
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    assert optimizer.get_slot(variables[0], "momentum").name == "kernel/LARSOptimizer:0"


def test_lars_refuses_what_cannot_be_meant():
    with pytest.raises(ValueError, match="momentum must not be negative, got -1"):
        contrib_opt.LARSOptimizer(0.1, momentum=-1)


@pytest.mark.parametrize("weights", [None, [1.0, 0.0, 2.0, 1.0]])
def test_pearson_correlation_is_that_of_all_examples_so_far(in_graph, weights):
    generator = np.random.default_rng(3)
    examples = generator.normal(100.0, 1.0, [3, 2, 4]).astype(np.float32)
    x, y = (tf.compat.v1.placeholder(tf.float32, [4]) for _ in range(2))
    value, update = contrib_metrics.streaming_pearson_correlation(x, y, weights, updates_collections=["updates"])
    with tf.compat.v1.Session() as session:
        session.run(tf.compat.v1.local_variables_initializer())
        for batch in examples:
            latest = session.run(update, {x: batch[0], y: batch[1]})
        found = session.run(value)
    repeated = np.tile(np.ones(4) if weights is None else weights, 3)
    covariance = np.cov(examples[:, 0].ravel(), examples[:, 1].ravel(), aweights=repeated)
    assert found == latest == pytest.approx(covariance[0, 1] / np.sqrt(covariance[0, 0] * covariance[1, 1]), rel=1e-5)
    assert tf.compat.v1.get_collection("updates") == [update]


def test_streaming_metrics_take_predictions_first(in_graph):
    value, update = contrib_metrics.streaming_precision(predictions=[1, 1, 0], labels=[1, 0, 1], name="precision")
    _, auc = contrib_metrics.streaming_auc(tf.constant([0.9, 0.1]), [True, False], None, 50)
    with tf.compat.v1.Session() as session:
        session.run(tf.compat.v1.local_variables_initializer())
        assert session.run(update) == session.run(value) == 0.5
        assert session.run(auc) == pytest.approx(1.0)


def test_arg_scope_gives_defaults_inside_its_block():
    @contrib_framework.add_arg_scope
    def layer(size, rate=0.0, name="layer"):
        return size, rate, name

    with contrib_framework.arg_scope([layer], rate=0.5, name="outer"):
        with contrib_framework.arg_scope([layer], rate=0.1) as scope:
            assert layer(1) == (1, 0.1, "outer")
            assert layer(1, rate=0.2) == (1, 0.2, "outer")
        assert layer(1) == (1, 0.5, "outer")
    assert layer(1) == (1, 0.0, "layer")
    with contrib_framework.arg_scope(scope):
        assert layer(2) == (2, 0.1, "outer")
    with pytest.raises(ValueError, match="decorate it with add_arg_scope"), contrib_framework.arg_scope([max], key=1):
        pass
    with pytest.raises(ValueError, match="takes no defaults"), contrib_framework.arg_scope(scope, rate=1):
        pass


def test_arg_scope_reaches_a_function_through_another_decorator():
    @functools.lru_cache
    @contrib_framework.add_arg_scope
    def layer(rate=0.0):
        return rate

    with contrib_framework.arg_scope([layer], rate=0.5):
        assert layer() == 0.5


def test_variables_are_found_by_scope_and_end(in_graph):
    for name in ("a/kernel", "a/bias", "b/kernel"):
        tf.compat.v1.get_variable(name, [1], trainable=name != "a/bias")
    assert [variable.op.name for variable in contrib_framework.get_variables("a")] == ["a/kernel", "a/bias"]
    assert [variable.op.name for variable in contrib_framework.get_variables(suffix="bias")] == ["a/bias"]
    assert [variable.op.name for variable in contrib_framework.get_trainable_variables("a")] == ["a/kernel"]


def own_optimizer(learning_rate=1.0):
    return tf.compat.v1.train.GradientDescentOptimizer(learning_rate)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({"optimizer": "SGD"}, [2.0, 1.0]),
        ({"optimizer": tf.compat.v1.train.GradientDescentOptimizer}, [2.0, 1.0]),
        ({"optimizer": lambda rate: tf.compat.v1.train.GradientDescentOptimizer(2 * rate)}, [-1.0, -3.0]),
        ({"optimizer": lambda: tf.compat.v1.train.GradientDescentOptimizer(1.0)}, [-1.0, -3.0]),
        ({"optimizer": tf.compat.v1.train.GradientDescentOptimizer(1.0), "learning_rate": None}, [-1.0, -3.0]),
        ({"optimizer": own_optimizer, "learning_rate": None}, [-1.0, -3.0]),
        ({"optimizer": "SGD", "clip_gradients": 1.0}, [4.7, 4.6]),
        ({"optimizer": "SGD", "gradient_multipliers": {"weights": 2.0}}, [-1.0, -3.0]),
        ({"optimizer": "SGD", "gradient_multipliers": {"weights:0": 2.0}}, [-1.0, -3.0]),
        ({"optimizer": "SGD", "learning_rate_decay_fn": lambda rate, step: rate * 2.0}, [-1.0, -3.0]),
        (
            {"optimizer": "SGD", "clip_gradients": lambda pairs: [(gradient * 0, v) for gradient, v in pairs]},
            [5.0, 5.0],
        ),
    ],
)
def test_optimize_loss_is_one_step_and_the_loss(in_graph, arguments, expected):
    # The gradient is [6, 8] in every case, of norm 10.
    weights = tf.compat.v1.get_variable("weights", initializer=[5.0, 5.0])
    loss = tf.reduce_sum([6.0, 8.0] * weights)
    step = tf.compat.v1.train.create_global_step()
    train = contrib_optimizers.optimize_loss(loss, **{"global_step": None, "learning_rate": 0.5, **arguments})
    with tf.compat.v1.Session() as session:
        session.run(tf.compat.v1.global_variables_initializer())
        assert session.run(train) == 70
        np.testing.assert_allclose(session.run(weights), expected, rtol=1e-5)
        assert session.run(step) == 1


def test_optimize_loss_multiplies_the_gradient_of_an_embedding(in_graph):
    table = tf.compat.v1.get_variable("table", initializer=[[1.0], [1.0]])
    loss = tf.reduce_sum(tf.gather(table, [1]))
    train = contrib_optimizers.optimize_loss(loss, None, 0.5, "SGD", gradient_multipliers={"table": 3.0})
    with tf.compat.v1.Session() as session:
        session.run(tf.compat.v1.global_variables_initializer())
        session.run(train)
        np.testing.assert_allclose(session.run(table), [[1.0], [-0.5]])


def test_optimize_loss_runs_updates_and_summarises(in_graph):
    weights = tf.compat.v1.get_variable("weights", initializer=1.0)
    average = tf.compat.v1.get_variable("average", initializer=0.0, trainable=False)
    tf.compat.v1.add_to_collection(tf.compat.v1.GraphKeys.UPDATE_OPS, tf.compat.v1.assign_add(average, 1.0))
    step = tf.compat.v1.train.create_global_step()
    train = contrib_optimizers.optimize_loss(
        weights, step, 0.1, "Momentum", summaries=contrib_optimizers.OPTIMIZER_SUMMARIES, increment_global_step=False
    )
    with tf.compat.v1.Session() as session:
        session.run(tf.compat.v1.global_variables_initializer())
        session.run(train)
        assert session.run([average, step]) == [1.0, 0]
        text = session.run(tf.compat.v1.summary.merge_all())
    tags = {value.tag for value in tf.compat.v1.Summary.FromString(text).value}
    assert {"OptimizeLoss/loss", "OptimizeLoss/gradients/weights", "OptimizeLoss/gradient_norm/weights"} <= tags


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ({"optimizer": "Sgd"}, "unknown optimizer 'Sgd'; there are Adagrad"),
        ({"optimizer": "SGD", "learning_rate": None}, "optimizer 'SGD' needs a learning_rate"),
        ({"optimizer": 3}, "give a name, an optimizer, a class or a function"),
        ({"optimizer": "SGD", "gradient_noise_scale": 0.1}, "gradient_noise_scale is not supported"),
    ],
)
def test_optimize_loss_refuses_what_it_cannot_do(in_graph, arguments, match):
    weights = tf.compat.v1.get_variable("weights", initializer=1.0)
    with pytest.raises(ValueError, match=match):
        contrib_optimizers.optimize_loss(weights, None, **{"learning_rate": 0.1, **arguments})


def test_a_model_fn_on_a_tpu_is_told_where_to_write_its_summaries(tmp_path):
    writer = summary_writer.create_file_writer(str(tmp_path))
    with replica.tracing(replica.ReplicaContext(is_for_xla=True)), pytest.raises(UserError, match="host_call"):
        writer.as_default()


@pytest.fixture
def chain():
    """Scores of places and of transitions, lengths, and the best sequences and sums found by trying all."""
    generator = np.random.default_rng(5)
    inputs, transitions = generator.normal(size=[3, 4, 3]), generator.normal(size=[3, 3])
    lengths, best, sums = [4, 2, 1], [], []
    for scores, length in zip(inputs, lengths, strict=True):
        of_all = {tags: chain_score(scores, transitions, tags) for tags in itertools.product(range(3), repeat=length)}
        best.append(max(of_all, key=of_all.get))
        sums.append(np.log(np.sum(np.exp(list(of_all.values())))))
    return inputs, transitions, lengths, best, sums


def chain_score(scores, transitions, tags):
    of_places = sum(scores[place, tag] for place, tag in enumerate(tags))
    return of_places + sum(transitions[pair] for pair in itertools.pairwise(tags))


def test_a_random_fields_likelihood_is_that_over_all_sequences(in_graph, chain):
    inputs, transitions, lengths, best, sums = chain
    padded = [[*tags, 2, 2, 2][:4] for tags in best]
    likelihood, _ = contrib_crf.crf_log_likelihood(tf.constant(inputs), padded, lengths, tf.constant(transitions))
    expected = [chain_score(inputs[i], transitions, best[i]) - sums[i] for i in range(3)]
    with tf.compat.v1.Session() as session:
        np.testing.assert_allclose(session.run(likelihood), expected, rtol=1e-9)


def test_a_random_fields_best_sequence_is_that_of_all_sequences(in_graph, chain):
    inputs, transitions, lengths, best, _ = chain
    decoded = contrib_crf.crf_decode(tf.constant(inputs), tf.constant(transitions), lengths)
    with tf.compat.v1.Session() as session:
        tags, score = session.run(decoded)
    assert tags.tolist() == [[*sequence, 0, 0, 0][:4] for sequence in best]
    np.testing.assert_allclose(score, [chain_score(inputs[i], transitions, best[i]) for i in range(3)], rtol=1e-9)
    assert contrib_crf.viterbi_decode(inputs[0], transitions) == (list(best[0]), pytest.approx(score[0]))


@pytest.mark.parametrize("is_for_xla", [False, True])
def test_a_sequence_of_one_place_is_decoded_though_sizes_are_unknown(is_for_xla):
    @tf.function(input_signature=[tf.TensorSpec([None, None, 3])], jit_compile=is_for_xla)
    def decode(inputs):
        lengths = tf.fill(tf.shape(inputs)[:1], tf.shape(inputs)[1])
        return (
            *contrib_crf.crf_decode(inputs, tf.ones([3, 3]), lengths),
            contrib_crf.crf_log_norm(inputs, lengths, tf.ones([3, 3])),
        )

    inputs = np.array([[[1, 2, 0]], [[0, 0, 3]]], np.float32)
    tags, score, total = decode(inputs)
    assert (tags.numpy().tolist(), score.numpy().tolist()) == ([[1], [2]], [2, 3])
    np.testing.assert_allclose(total, np.log(np.exp(inputs).sum(2)[:, 0]), rtol=1e-6)


def test_a_random_field_learns_its_transitions(in_graph):
    inputs = tf.constant(np.zeros([2, 1, 3], np.float32))
    likelihood, transitions = contrib_crf.crf_log_likelihood(tf.concat([inputs] * 3, 1), [[0, 1, 2]] * 2, [3, 2])
    assert (transitions.op.name, transitions.shape) == ("transitions", [3, 3])
    (gradient,) = tf.gradients(likelihood, transitions)
    with tf.compat.v1.Session() as session:
        session.run(tf.compat.v1.global_variables_initializer())
        assert session.run(gradient)[0, 1] > 0 > session.run(gradient)[1, 0]
