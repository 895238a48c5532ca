"""What `TPUEstimator` and `Estimator` refuse, and how batches reach the replicas in each mode, with real runs."""

import collections
import copy
import functools

import numpy as np
import pytest
import tensorflow as tf

from trainer.errors import UserError
from trainer.estimator import (
    Estimator,
    InputPipelineConfig,
    ModeKeys,
    RunConfig,
    TPUConfig,
    TPUContext,
    TPUEstimator,
    TPUEstimatorSpec,
    run_config,
)
from trainer.nn.metrics import mean

from . import programs

v1 = tf.compat.v1


def no_params(features, labels, mode):
    """No model_fn for a TPUEstimator."""


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"model_fn": None}, "model_fn must be provided"),
        ({"model_fn": no_params}, "does not include params argument"),
        ({"config": run_config.RunConfig()}, "`config` must be provided with type `tpu_config.RunConfig`"),
        ({"params": {"batch_size": 1}}, "batch_size are reserved keys of params"),
        ({"params": {"context": 1}}, "context are reserved keys of params"),
        ({"train_batch_size": 0}, "train_batch_size must be a positive integer, got 0"),
        ({"eval_batch_size": 2.0}, "eval_batch_size must be a positive integer, got 2.0"),
        ({"predict_batch_size": True}, "predict_batch_size must be a positive integer"),
        ({"export_to_tpu": False, "export_to_cpu": False}, "One of export_to_cpu and export_to_tpu must be true"),
        ({"export_saved_model_api_version": 3}, "export_saved_model_api_version should be 1 or 2; got 3"),
        ({"embedding_config_spec": object()}, "embedding_config_spec is not supported: use tf.nn.embedding_lookup"),
        ({"warm_start_from": 7}, "warm_start_from must be a string or a WarmStartSettings"),
        ({"model_dir": "a", "config": RunConfig(model_dir="b")}, "set both in constructor and `RunConfig`"),
    ],
)
def test_the_constructor_refuses_what_it_cannot_use(arguments, message):
    with pytest.raises(ValueError, match=message):
        TPUEstimator(**{"model_fn": programs.model_fn, "use_tpu": False, **arguments})


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"model_fn": lambda labels: None}, "must include features argument"),
        ({"model_fn": lambda features, mode: None, "params": {}}, "does not include params argument"),
        ({"model_fn": lambda features, other: None}, r"has following not expected args: \['other'\]"),
        ({"model_fn": no_params, "config": {}}, "config must be an instance of RunConfig"),
    ],
)
def test_the_plain_constructor_refuses_what_it_cannot_use(arguments, message):
    with pytest.raises(ValueError, match=message):
        Estimator(**arguments)


def test_public_methods_cannot_be_overridden():
    class Overriding(Estimator):
        def evaluate(self):
            """Something else."""

    with pytest.raises(ValueError, match="Subclasses of Estimator cannot override evaluate"):
        Overriding(no_params)


def test_subclasses_may_add_to_an_estimator(tmp_path):
    class Adding(TPUEstimator):
        def train_twice(self):
            return self.train(programs.input_fn, steps=1).train(programs.input_fn, steps=1)

    estimator = Adding(programs.model_fn, str(tmp_path), use_tpu=False, train_batch_size=8).train_twice()
    assert estimator.get_variable_value("global_step:0") == 2


def on_replicas(model_dir, num_replicas=4, model_fn=programs.model_fn, config=None, **arguments):
    run = RunConfig(model_dir=str(model_dir), master=f"mock:{num_replicas}", tpu_config=TPUConfig(**(config or {})))
    sizes = {"train_batch_size": 8, "eval_batch_size": 8, "predict_batch_size": 8}
    return TPUEstimator(model_fn, config=run, **{"use_tpu": True, **sizes, **arguments})


@pytest.mark.parametrize(
    ("arguments", "config", "message"),
    [
        ({"train_batch_size": None}, {}, "`train_batch_size` cannot be `None` to train"),
        ({"train_batch_size": 6}, {}, "train_batch_size 6 must be divisible by the number of replicas 4; use 4"),
        ({}, {"num_shards": 8}, "num_shards is not set correctly.*should be 4, got 8"),
        ({"batch_axis": [0]}, {}, "batch_axis has 1 entries but the input_fn returns 2 tensors"),
    ],
)
def test_training_refuses_a_batch_that_replicas_cannot_share(tmp_path, arguments, config, message):
    with pytest.raises(ValueError, match=message):
        on_replicas(tmp_path, config=config, **arguments).train(programs.input_fn, steps=1)


def test_an_input_fn_that_asks_for_a_size_that_nobody_gave_is_told_so(tmp_path):
    estimator = programs.make_estimator(tmp_path, eval_batch_size=None)
    with pytest.raises(KeyError, match=r"asks for params\['batch_size'\]: pass eval_batch_size=... to TPUEstimator"):
        estimator.evaluate(programs.input_fn)


def test_predictions_that_replicas_cannot_share_are_refused(tmp_path):
    def model_fn(features, labels, mode, params):
        return TPUEstimatorSpec(mode, predictions={"mean": tf.reduce_mean(programs.predicted(features))})

    with pytest.raises(ValueError, match="the prediction 'mean' is a scalar; give every prediction one row"):
        next(on_replicas(tmp_path, model_fn=model_fn).predict(programs.input_fn))


def test_batch_sizes_are_asked_for_when_they_are_needed(tmp_path):
    estimator = on_replicas(tmp_path, eval_batch_size=None, predict_batch_size=None)
    with pytest.raises(ValueError, match="eval_batch_size in TPUEstimator must be given"):
        estimator.evaluate(programs.input_fn)
    with pytest.raises(ValueError, match="predict_batch_size in TPUEstimator must be given"):
        next(estimator.predict(programs.input_fn))


def test_shapes_must_be_static(tmp_path):
    def input_fn(params):
        return tf.data.Dataset.from_tensor_slices((programs.FEATURES, programs.LABELS)).repeat().batch(8)

    with pytest.raises(ValueError, match=r"must have static shape.*drop_remainder=True"):
        on_replicas(tmp_path).train(input_fn, steps=1)


def test_gradients_must_be_shared(tmp_path):
    def model_fn(features, labels, mode, params):
        loss = tf.reduce_mean((programs.predicted(features) - labels) ** 2)
        return TPUEstimatorSpec(mode, loss=loss, train_op=v1.train.GradientDescentOptimizer(0.1).minimize(loss))

    with pytest.raises(ValueError, match="CrossShardOptimizer must be used for model training on TPUs"):
        on_replicas(tmp_path, model_fn=model_fn).train(programs.input_fn, steps=1)


def test_gradients_may_be_summed_over_replicas_in_a_branch(tmp_path):
    """As programs do that gather the gradients of several steps."""

    def model_fn(features, labels, mode, params):
        loss = tf.reduce_mean((programs.predicted(features) - labels) ** 2)
        step = v1.train.get_global_step()
        optimizer = v1.tpu.CrossShardOptimizer(v1.train.GradientDescentOptimizer(0.1))
        gradients = optimizer.compute_gradients(loss)
        update = tf.cond(step % 2 > 0, lambda: optimizer.apply_gradients(gradients), tf.no_op)
        with tf.control_dependencies([update]):
            return TPUEstimatorSpec(mode, loss=loss, train_op=v1.assign_add(step, 1))

    estimator = on_replicas(tmp_path, model_fn=model_fn).train(programs.input_fn, steps=1)
    assert not estimator.get_variable_value("weights").any()
    assert estimator.train(programs.input_fn, steps=1).get_variable_value("weights").all()


def test_scalars_cannot_leave_several_replicas(tmp_path):
    def model_fn(features, labels, mode, params):
        spec = programs.model_fn(features, labels, mode, params)
        return spec._replace(host_call=(lambda loss: [], [spec.loss]))

    with pytest.raises(ValueError, match=r"preserve batch size dimension, but got scalar.*tf\.reshape"):
        on_replicas(tmp_path, model_fn=model_fn).train(programs.input_fn, steps=1)


@pytest.mark.parametrize("returned", [None, 7, {"loss": 1}])
def test_a_model_fn_must_return_a_spec(tmp_path, returned):
    estimator = programs.make_estimator(tmp_path, lambda features, labels, mode, params: returned)
    with pytest.raises(TypeError, match="model_fn should return an EstimatorSpec or TPUEstimatorSpec"):
        estimator.train(programs.input_fn, steps=1)


def test_a_spec_is_of_the_mode_that_was_asked_for(tmp_path):
    def model_fn(features, labels, mode, params):
        return programs.model_fn(features, labels, ModeKeys.EVAL, params)

    with pytest.raises(ValueError, match="called in mode 'train' and returned a spec of mode 'eval'"):
        programs.make_estimator(tmp_path, model_fn).train(programs.input_fn, steps=1)


def test_a_plain_spec_cannot_be_evaluated_by_replicas(tmp_path):
    def model_fn(features, labels, mode, params):
        return programs.plain_model_fn(features, labels, mode)

    with pytest.raises(RuntimeError, match="TPUEstimatorSpec must be used when evaluating on a TPU"):
        on_replicas(tmp_path, model_fn=model_fn).evaluate(programs.input_fn)


def test_a_scaffold_fn_must_return_a_scaffold(tmp_path):
    def model_fn(features, labels, mode, params):
        return programs.model_fn(features, labels, mode, params)._replace(scaffold_fn=lambda: None)

    with pytest.raises(ValueError, match="scaffold_fn of the model_fn returns None"):
        programs.make_estimator(tmp_path, model_fn).train(programs.input_fn, steps=1)


def test_config_and_params_are_copies(tmp_path):
    params = {"list": [1]}
    estimator = programs.make_estimator(tmp_path, params=params)
    params["list"].append(2)
    estimator.params["list"].append(3)
    assert estimator.params == {"list": [1]}
    assert estimator.config is not estimator.config
    assert copy.deepcopy(estimator.config).model_dir == estimator.model_dir == str(tmp_path)


@pytest.mark.parametrize("is_plain", [True, False])
def test_what_a_program_does_to_its_params_is_for_that_call_alone(tmp_path, is_plain):
    seen = []

    def note(params):
        seen.append(len(params["list"]))
        params["list"].append(2)
        params["own"] = 1
        return params

    def input_fn(mode, params):
        return programs.input_fn(mode, {"batch_size": 4, **note(params)})

    def model_fn(features, labels, mode, params):
        note(params)
        return (programs.plain_model_fn if is_plain else functools.partial(programs.model_fn, params=params))(
            features, labels, mode
        )

    params = {"list": [1]}
    estimator = (
        Estimator(model_fn, str(tmp_path), params=params)
        if is_plain
        else programs.make_estimator(tmp_path, model_fn, params=params)
    )
    estimator.train(input_fn, steps=1)
    estimator.evaluate(input_fn)
    assert seen == [1] * 4
    assert estimator.params == {"list": [1]}


@pytest.mark.parametrize("name", ["run[1]", "run\\1"])
def test_a_model_dir_that_tensorflow_takes_for_a_pattern_is_refused_before_the_work(tmp_path, name):
    with pytest.raises(UserError, match="in its name, which TensorFlow takes for a pattern; rename it"):
        Estimator(programs.plain_model_fn, str(tmp_path / name))
    assert not list(tmp_path.iterdir())


def test_a_model_dir_is_made_when_none_is_given():
    estimator = TPUEstimator(programs.model_fn, use_tpu=False, train_batch_size=8)
    estimator.train(programs.input_fn, steps=1)
    assert tf.io.gfile.exists(f"{estimator.model_dir}/checkpoint")


class Seen:
    """Records what input_fn and model_fn are told."""

    def __init__(self):
        self.input_params = []
        self.deployments = []
        self.model_params = []
        self.host_calls = []

    def input_fn(self, mode, params):
        self.input_params.append(params)
        self.deployments.append(params["context"].current_input_fn_deployment()[1:])
        start = 100.0 * len(self.input_params)
        numbers = tf.data.Dataset.range(10_000).map(lambda n: start + tf.cast(n, tf.float32))
        return numbers.batch(params["batch_size"], drop_remainder=True)

    def model_fn(self, features, labels, mode, params):
        self.model_params.append(params)
        assert isinstance(params["context"], TPUContext)
        assert features.shape == [params["batch_size"]]
        loss = tf.reduce_mean(v1.get_variable("weight", []) * 0 + features)
        host_call = (lambda features: tf.numpy_function(self.host_calls.append, [features], []), [features])
        return TPUEstimatorSpec(mode, loss=loss, train_op=programs.minimize(loss), host_call=host_call)


@pytest.mark.parametrize(
    ("pipeline", "input_batch_size", "model_batch_size", "deployments", "batch"),
    [
        (InputPipelineConfig.PER_HOST_V1, 8, 2, [(0, 1, 4)], [100, 101, 102, 103, 104, 105, 106, 107]),
        (InputPipelineConfig.PER_HOST_V2, 2, 2, [(0, 1, 4)], [100, 101, 102, 103, 104, 105, 106, 107]),
        (InputPipelineConfig.BROADCAST, 8, 8, [(0, 1, 4)], [100, 101, 102, 103, 104, 105, 106, 107]),
        (
            InputPipelineConfig.PER_SHARD_V1, 2, 2,
            [(0, 4, 1), (1, 4, 1), (2, 4, 1), (3, 4, 1)], [100, 101, 200, 201, 300, 301, 400, 401],
        ),
    ],
)  # fmt: skip
def test_batches_reach_the_replicas(tmp_path, pipeline, input_batch_size, model_batch_size, deployments, batch):
    seen = Seen()
    config = {"per_host_input_for_training": pipeline}
    on_replicas(tmp_path, model_fn=seen.model_fn, config=config).train(seen.input_fn, steps=2)
    assert [params["batch_size"] for params in seen.input_params] == [input_batch_size] * len(deployments)
    assert seen.deployments == deployments
    assert [params["batch_size"] for params in seen.model_params] == [model_batch_size]
    assert seen.model_params[0]["use_tpu"] is True
    np.testing.assert_array_equal(seen.host_calls[0], batch)
    assert seen.host_calls[1].min() == batch[0] + input_batch_size * (
        4 if pipeline is InputPipelineConfig.PER_HOST_V2 else 1
    )


@pytest.mark.parametrize(
    "pipeline", [InputPipelineConfig.PER_HOST_V1, InputPipelineConfig.PER_HOST_V2, InputPipelineConfig.BROADCAST]
)
def test_evaluation_and_prediction_on_replicas_take_every_example_once(tmp_path, pipeline):
    def model_fn(features, labels, mode, params):
        spec = programs.model_fn(features, labels, mode, params)
        if mode != ModeKeys.EVAL:
            return spec
        count = lambda labels: {"sum": mean(labels), "v1_mean": v1.metrics.mean(labels)}  # noqa: E731
        return spec._replace(eval_metrics=(count, [labels]))

    estimator = on_replicas(tmp_path, model_fn=model_fn, config={"per_host_input_for_training": pipeline})
    result = estimator.evaluate(programs.input_fn)
    for name in ("sum", "v1_mean"):
        assert result[name] == pytest.approx(programs.LABELS.mean(), rel=1e-5)
    predicted = [one["features"] for one in estimator.predict(programs.input_fn)]
    np.testing.assert_array_equal(predicted, programs.FEATURES)


def test_replicas_that_all_see_the_whole_batch_may_see_any_number_of_examples_and_give_scalars(tmp_path):
    def model_fn(features, labels, mode, params):
        spec = programs.model_fn(features, labels, mode, params)
        if mode != ModeKeys.EVAL:
            return spec
        return spec._replace(eval_metrics=(lambda loss: {"mean_loss": v1.metrics.mean(loss)}, [spec.loss]))

    config = {"per_host_input_for_training": InputPipelineConfig.BROADCAST}
    sizes = {"train_batch_size": 7, "eval_batch_size": 9, "predict_batch_size": 6}
    estimator = on_replicas(tmp_path, model_fn=model_fn, config=config, **sizes)
    estimator.train(programs.input_fn, steps=1)
    result = estimator.evaluate(programs.input_fn)
    assert result["mean_loss"] == pytest.approx(result["loss"], rel=1e-6)
    assert len(list(estimator.predict(programs.input_fn))) == programs.NUM_EXAMPLES


def test_params_off_the_tpu_are_global(tmp_path):
    seen = collections.defaultdict(list)

    def input_fn(mode, params):
        seen[mode].append(dict(params))
        return programs.input_fn(mode, params)

    def model_fn(features, labels, mode, params):
        seen[f"model {mode}"].append(dict(params))
        return programs.model_fn(features, labels, mode, params)

    estimator = programs.make_estimator(tmp_path, model_fn, params={"own": 1}, eval_batch_size=4, predict_batch_size=2)
    estimator.train(input_fn, steps=1)
    estimator.evaluate(input_fn)
    list(estimator.predict(input_fn))
    expected = {ModeKeys.TRAIN: 8, ModeKeys.EVAL: 4, ModeKeys.PREDICT: 2}
    assert {mode: seen[mode] for mode in expected} == {
        mode: [{"own": 1, "batch_size": size}] for mode, size in expected.items()
    }
    assert {mode: seen[f"model {mode}"] for mode in expected} == {
        mode: [{"own": 1, "batch_size": size, "use_tpu": False}] for mode, size in expected.items()
    }


def test_evaluation_may_stay_on_the_cpu(tmp_path):
    devices = {}

    def model_fn(features, labels, mode, params):
        devices[mode] = params["use_tpu"]
        return programs.model_fn(features, labels, mode, params)

    estimator = on_replicas(tmp_path, model_fn=model_fn, eval_on_tpu=False)
    estimator.train(programs.input_fn, steps=1)
    estimator.evaluate(programs.input_fn)
    assert devices == {ModeKeys.TRAIN: True, ModeKeys.EVAL: False}
