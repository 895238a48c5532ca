"""Hooks of the Estimator interface itself: in-memory evaluation, stopping, early stopping, profiles."""

import json

import numpy as np
import pytest
import tensorflow as tf

from trainer.errors import UserError
from trainer.estimator import (
    EvalSpec,
    TPUEstimatorSpec,
    TrainSpec,
    WarmStartSettings,
    early_stopping,
    train_and_evaluate,
)
from trainer.estimator.early_stopping import (
    make_early_stopping_hook,
    read_eval_metrics,
    stop_if_higher_hook,
    stop_if_lower_hook,
    stop_if_no_decrease_hook,
    stop_if_no_increase_hook,
)
from trainer.estimator.evaluator_hook import InMemoryEvaluatorHook
from trainer.estimator.events import EventWriter
from trainer.estimator.profiler_hook import ProfilerHook
from trainer.estimator.stop_hooks import StopAtCheckpointStepHook, make_stop_at_checkpoint_step_hook

from . import programs

v1 = tf.compat.v1
ON_EACH_ENGINE = pytest.mark.parametrize(
    "arguments", [{}, {"use_tpu": True, "config": {"master": "mock:4"}}], ids=["tf", "mock:4"]
)


def global_step(estimator):
    return int(estimator.get_variable_value("global_step"))


@ON_EACH_ENGINE
def test_evaluation_in_memory_sees_the_weights_of_the_moment(tmp_path, arguments):
    estimator = programs.make_estimator(tmp_path, **arguments)
    hook = InMemoryEvaluatorHook(estimator, programs.input_fn, steps=2, name="live", every_n_iter=4)
    estimator.train(programs.input_fn, max_steps=9, hooks=[hook])
    assert len(list(tmp_path.glob("*.index"))) == 2
    found = programs.events(estimator.eval_dir("live"))["squared_error"]
    assert sorted(found) == [0, 4, 8, 9]
    assert found[0] == pytest.approx(np.mean(programs.LABELS[:16] ** 2), rel=1e-5)
    assert found[9] == pytest.approx(estimator.evaluate(programs.input_fn, steps=2)["squared_error"], rel=1e-5)
    assert len(set(found.values())) == 4


def test_evaluation_in_memory_does_not_disturb_training(tmp_path):
    weights = []
    for name in ("alone", "evaluated"):
        estimator = programs.make_estimator(tmp_path / name, averaging_model_fn)
        hooks = [InMemoryEvaluatorHook(estimator, programs.input_fn, every_n_iter=1)] * (name == "evaluated")
        estimator.train(programs.input_fn, max_steps=5, hooks=hooks)
        weights.append(estimator.get_variable_value("weights"))
    np.testing.assert_array_equal(*weights)
    events = programs.events(estimator.eval_dir())["loss"]
    assert events[5] == pytest.approx(estimator.evaluate(programs.input_fn)["loss"], rel=1e-6)


def averaging_model_fn(features, labels, mode, params):
    """Evaluates with an average of its weights."""
    loss = tf.reduce_mean((programs.predicted(features) - labels) ** 2)
    average = v1.train.ExponentialMovingAverage(0.5)
    weights = v1.trainable_variables()
    if mode == "eval":
        saver_of = lambda: v1.train.Saver(average.variables_to_restore(weights))  # noqa: E731
        return TPUEstimatorSpec(mode, loss=loss, scaffold_fn=lambda: v1.train.Scaffold(saver=saver_of()))
    with tf.control_dependencies([programs.minimize(loss)]):
        return TPUEstimatorSpec(mode, loss=loss, train_op=average.apply(weights))


@pytest.mark.parametrize("every_n_iter", [None, 0])
def test_in_memory_evaluation_needs_a_cadence(tmp_path, every_n_iter):
    with pytest.raises(ValueError, match="invalid every_n_iter"):
        InMemoryEvaluatorHook(programs.make_estimator(tmp_path), programs.input_fn, every_n_iter=every_n_iter)


def test_in_memory_evaluation_is_for_one_machine(tmp_path, monkeypatch):
    cluster = {"chief": ["a:1"], "worker": ["b:1"], "ps": ["c:1"]}
    monkeypatch.setenv("TF_CONFIG", json.dumps({"cluster": cluster, "task": {"type": "chief", "index": 0}}))
    with pytest.raises(ValueError, match="only single machine"):
        InMemoryEvaluatorHook(programs.make_estimator(tmp_path), programs.input_fn)


class Overwriting(v1.train.SessionRunHook, v1.train.CheckpointSaverListener):
    """Changes the weights when the last step is saved: as a listener, after the save; as a hook, at the end."""

    def begin(self):
        (weights,) = (variable for variable in v1.trainable_variables() if variable.op.name == "weights")
        self.assign = weights.assign([7.0, 7.0, 7.0])

    def after_save(self, session, global_step_value):
        session.run(self.assign)

    def end(self, session, global_step_value=None):
        session.run(self.assign)


class OverwritingAfterSave(Overwriting):
    def end(self, session, global_step_value=None):
        pass


@ON_EACH_ENGINE
@pytest.mark.parametrize(
    "overwriting",
    [
        pytest.param(lambda: {"hooks": [Overwriting()]}, marks=pytest.mark.slow),
        pytest.param(lambda: {"saving_listeners": [Overwriting()]}, marks=pytest.mark.slow),
        lambda: {"saving_listeners": [OverwritingAfterSave()]},
    ],
    ids=["hook", "listener", "after save"],
)
def test_what_hooks_change_after_the_last_save_counts_for_nothing(tmp_path, arguments, overwriting):
    estimator = programs.make_estimator(tmp_path, **arguments)
    estimator.train(programs.input_fn, max_steps=3, **overwriting())
    path = estimator.latest_checkpoint()
    expected = programs.make_estimator(tmp_path, **arguments).evaluate(programs.input_fn, checkpoint_path=path)
    assert estimator.evaluate(programs.input_fn) == expected
    estimator.train(programs.input_fn, steps=1, **overwriting())
    another = programs.make_estimator(
        tmp_path / "another", warm_start_from=WarmStartSettings(path, [".*"]), **arguments
    )
    another.train(programs.input_fn, steps=1)
    np.testing.assert_allclose(estimator.get_variable_value("weights"), another.get_variable_value("weights"))


@ON_EACH_ENGINE
def test_steps_are_profiled_now_and_then(tmp_path, arguments):
    estimator = programs.make_estimator(tmp_path / "model", **arguments)
    hook = ProfilerHook(save_steps=2, output_dir=str(tmp_path / "ours"))
    estimator.train(programs.input_fn, max_steps=3, hooks=[hook])
    (profile,) = (tmp_path / "ours").glob("plugins/profile/*/*.xplane.pb")
    assert profile.stat().st_size > 1000
    (timeline,) = (tmp_path / "ours").glob("*.json")
    # The cadence is that of TensorFlow 1's hook, which counts from the first step.
    assert timeline.name == "timeline-2.json"
    events = json.loads(timeline.read_text())["traceEvents"]
    processes = {event["args"]["name"] for event in events if event["name"] == "process_name"}
    assert any("CPU" in name for name in processes)
    spans = [event for event in events if event["ph"] == "X" and event["dur"] > 0]
    assert {(type(event["ts"]), event["pid"] < len(processes)) for event in spans} == {(float, True)}


@ON_EACH_ENGINE
def test_a_step_that_fails_ends_its_profile(tmp_path, arguments):
    class Failing(v1.train.SessionRunHook):
        def after_run(self, run_context, run_values):
            raise ConnectionError("the machine is gone")

    estimator = programs.make_estimator(tmp_path / "model", **arguments)
    for name in ("failed", "next"):
        hook = ProfilerHook(save_steps=1, output_dir=str(tmp_path / name))
        with pytest.raises(ConnectionError):
            estimator.train(programs.input_fn, max_steps=3, hooks=[Failing(), hook])
        assert len(list((tmp_path / name).glob("plugins/profile/*/*.xplane.pb"))) == 1


def test_a_profiler_hook_of_tensorflow_1_profiles_too(tmp_path):
    def model_fn(features, labels, mode, params):
        spec = programs.model_fn(features, labels, mode, params)
        return spec._replace(training_hooks=[v1.train.ProfilerHook(save_steps=2, output_dir=str(tmp_path / "v1"))])

    programs.make_estimator(tmp_path / "model", model_fn).train(programs.input_fn, max_steps=3)
    assert len(list((tmp_path / "v1").glob("plugins/profile/*/*.xplane.pb"))) == 1
    assert [path.name for path in (tmp_path / "v1").glob("timeline-*")] == ["timeline-2.json"]


@ON_EACH_ENGINE
def test_evaluations_and_predictions_are_profiled_too(tmp_path, arguments):
    estimator = programs.make_estimator(tmp_path / "model", **arguments).train(programs.input_fn, max_steps=3)
    with tf.Graph().as_default():
        hooks = [v1.train.ProfilerHook(save_steps=1, output_dir=str(tmp_path / name)) for name in ("eval", "infer")]
    estimator.evaluate(programs.input_fn, hooks=hooks[:1])
    list(estimator.predict(programs.input_fn, hooks=hooks[1:]))
    for name in ("eval", "infer"):
        assert [path.name for path in (tmp_path / name).glob("timeline-*")] == ["timeline-3.json"]


@pytest.mark.parametrize("cadence", [{}, {"save_steps": 1, "save_secs": 1}])
def test_a_profiler_needs_one_cadence(cadence):
    with pytest.raises(ValueError, match="exactly one of save_steps and save_secs"):
        ProfilerHook(**cadence)


def test_the_chief_stops_at_the_step(tmp_path):
    estimator = programs.make_estimator(tmp_path)
    estimator.train(programs.input_fn, max_steps=9, hooks=[make_stop_at_checkpoint_step_hook(estimator, 4)])
    assert global_step(estimator) == 4


def test_others_stop_when_the_step_is_saved(tmp_path):
    estimator = programs.make_estimator(tmp_path, config={"save_checkpoints_steps": 3})
    hook = StopAtCheckpointStepHook(str(tmp_path), last_step=4, wait_after_file_check_secs=0)
    estimator.train(programs.input_fn, max_steps=20, hooks=[hook])
    assert global_step(estimator) == 6
    with pytest.raises(ValueError, match="last_step must be specified"):
        StopAtCheckpointStepHook(str(tmp_path), None)


def test_early_stopping_asks_every_so_many_steps(tmp_path):
    answers = iter([False, False, True])
    estimator = programs.make_estimator(tmp_path)
    hook = make_early_stopping_hook(estimator, lambda: next(answers), run_every_secs=None, run_every_steps=3)
    estimator.train(programs.input_fn, max_steps=50, hooks=[hook])
    # After the first, fourth and seventh, as in TensorFlow 1.
    assert global_step(estimator) == 7


def test_a_training_that_had_stopped_early_stops_at_once_when_it_is_started_again(tmp_path):
    estimator = programs.make_estimator(tmp_path)
    estimator.train(programs.input_fn, max_steps=50, hooks=[make_early_stopping_hook(estimator, lambda: True)])
    assert global_step(estimator) == 1


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"estimator": object()}, TypeError, "`estimator` must have type"),
        ({"should_stop_fn": True}, TypeError, "`should_stop_fn` must be callable, got True"),
        ({"run_every_steps": 1}, ValueError, "Only one of"),
        ({"run_every_secs": None}, ValueError, "One of"),
    ],
)
def test_early_stopping_refuses_what_it_cannot_use(tmp_path, arguments, error, message):
    given = {"estimator": programs.make_estimator(tmp_path), "should_stop_fn": bool, **arguments}
    with pytest.raises(error, match=message):
        make_early_stopping_hook(**given)


EVALUATIONS = {10: 4.0, 20: 3.0, 30: 5.0, 40: 6.0}
EVERY_STEP = {"run_every_secs": None, "run_every_steps": 1}


@pytest.mark.parametrize(
    ("make_hook", "arguments", "stops"),
    [
        (stop_if_higher_hook, {"threshold": 5.5}, True),
        (stop_if_higher_hook, {"threshold": 6.0}, False),
        (stop_if_lower_hook, {"threshold": 3.5}, True),
        (stop_if_lower_hook, {"threshold": 3.5, "min_steps": 30}, False),
        (stop_if_no_decrease_hook, {"max_steps_without_decrease": 20}, True),
        (stop_if_no_decrease_hook, {"max_steps_without_decrease": 21}, False),
        (stop_if_no_increase_hook, {"max_steps_without_increase": 10}, True),
        (stop_if_no_increase_hook, {"max_steps_without_increase": 10, "min_steps": 20}, False),
    ],
)
def test_early_stopping_by_a_metric_of_the_evaluations(tmp_path, make_hook, arguments, stops):
    estimator = programs.make_estimator(tmp_path)
    writer = EventWriter(estimator.eval_dir())
    for step, value in EVALUATIONS.items():
        writer.scalars({"error": value, "other": -value}, step)
    writer.close()
    estimator.train(programs.input_fn, max_steps=3, hooks=[make_hook(estimator, "error", **arguments, **EVERY_STEP)])
    assert global_step(estimator) == (1 if stops else 3)


def test_early_stopping_hears_of_the_evaluations_of_its_own_training(tmp_path):
    estimator = programs.make_estimator(tmp_path)
    hooks = [
        InMemoryEvaluatorHook(estimator, programs.input_fn, every_n_iter=5),
        stop_if_lower_hook(estimator, "squared_error", threshold=0.5, **EVERY_STEP),
    ]
    estimator.train(programs.input_fn, max_steps=200, hooks=hooks)
    results = read_eval_metrics(estimator.eval_dir())
    assert 0 < global_step(estimator) < 200
    assert next(step for step, result in results.items() if result["squared_error"] < 0.5) == global_step(estimator)


def test_early_stopping_stops_at_the_checkpoint_whose_evaluation_says_so(tmp_path):
    estimator = programs.make_estimator(tmp_path, config={"save_checkpoints_steps": 2})
    hook = stop_if_lower_hook(estimator, "squared_error", threshold=0.5, **EVERY_STEP)
    train_spec = TrainSpec(programs.input_fn, max_steps=200, hooks=[hook])
    train_and_evaluate(estimator, train_spec, EvalSpec(programs.input_fn, throttle_secs=0))
    results = read_eval_metrics(estimator.eval_dir())
    below = [step for step, result in results.items() if result["squared_error"] < 0.5]
    assert below == [global_step(estimator)]
    assert below[0] % 2 == 0


def test_early_stopping_by_a_metric_that_nobody_reports_is_refused(tmp_path):
    estimator = programs.make_estimator(tmp_path)
    estimator.evaluate(programs.input_fn)
    hook = stop_if_lower_hook(estimator, "sqared_error", threshold=0.5, **EVERY_STEP)
    with pytest.raises(UserError, match="no evaluation reports 'sqared_error'; take one of loss, squared_error"):
        estimator.train(programs.input_fn, max_steps=200, hooks=[hook])


def test_early_stopping_waits_for_the_first_evaluation(tmp_path):
    estimator = programs.make_estimator(tmp_path)
    hook = stop_if_no_decrease_hook(estimator, "loss", 1, **EVERY_STEP)
    estimator.train(programs.input_fn, max_steps=3, hooks=[hook])
    assert global_step(estimator) == 3
    assert early_stopping.read_eval_metrics(str(tmp_path / "nowhere")) == {}


def test_listeners_are_called_inside_the_graph(tmp_path):
    class Listener(v1.train.CheckpointSaverListener):
        def __init__(self):
            self.heard = []

        def before_save(self, session, global_step_value):
            self.heard.append(("before", session.run(v1.train.get_global_step())))

        def after_save(self, session, global_step_value):
            self.heard.append(("after", session.run(v1.train.get_global_step())))

        def end(self, session, global_step_value):
            self.heard.append(("end", session.run(v1.train.get_global_step())))

    listener = Listener()
    programs.make_estimator(tmp_path).train(programs.input_fn, steps=2, saving_listeners=[listener])
    assert listener.heard == [("before", 0), ("after", 0), ("before", 2), ("after", 2), ("end", 2)]
