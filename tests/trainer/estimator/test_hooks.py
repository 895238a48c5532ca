import numpy as np
import pytest
import tensorflow as tf

from trainer.estimator import Estimator, ExamplesPerSecondHook, ModeKeys

from . import programs

v1 = tf.compat.v1


class Recorder(v1.train.SessionRunHook):
    """Records the calls of the protocol, and what a fetch gives."""

    def __init__(self, fetches=None, stop_after=None):
        self.fetches = fetches
        self.stop_after = stop_after
        self.calls = []
        self.values = []

    def begin(self):
        self.calls.append("begin")

    def after_create_session(self, session, coord):
        self.calls.append("after_create_session")

    def before_run(self, run_context):
        self.calls.append("before_run")
        return v1.train.SessionRunArgs(self.fetches) if self.fetches is not None else None

    def after_run(self, run_context, run_values):
        self.calls.append("after_run")
        self.values.append(run_values.results)
        if len(self.values) == self.stop_after:
            run_context.request_stop()

    def end(self, session):
        self.calls.append("end")


def train(tmp_path, *hooks, max_steps=6, model_fn=programs.named_loss_model_fn, **config):
    estimator = programs.make_estimator(tmp_path, model_fn, config=config)
    estimator.train(programs.input_fn, max_steps=max_steps, hooks=hooks)
    return estimator


def step_reached(estimator):
    return int(estimator.get_variable_value("global_step"))


def test_hooks_are_called_in_the_order_of_the_protocol(tmp_path):
    recorder = Recorder()
    train(tmp_path, recorder, max_steps=2)
    per_step = ["before_run", "after_run"]
    assert recorder.calls == ["begin", "after_create_session", *per_step, *per_step, "end"]
    assert recorder.values == [None, None]


@pytest.mark.parametrize("fetches", ["the_loss:0", ["the_loss:0"], {"loss": "the_loss:0", "again": "the_loss:0"}])
def test_fetches_keep_their_structure(tmp_path, fetches):
    recorder = Recorder(fetches)
    estimator = train(tmp_path, recorder)
    (value, *others) = tf.nest.flatten(recorder.values[-1])
    tf.nest.assert_same_structure(recorder.values[-1], fetches)
    assert value == pytest.approx(programs.events(estimator.model_dir)["loss"][6])
    assert all(other == value for other in others)


@pytest.mark.parametrize("nothing", [{}, []])
def test_a_hook_that_wants_nothing_gets_it_in_its_structure(tmp_path, nothing):
    recorder = Recorder(nothing)
    train(tmp_path, recorder, max_steps=2)
    assert recorder.values == [nothing, nothing]


def test_a_hook_ends_training(tmp_path):
    assert step_reached(train(tmp_path, Recorder(stop_after=3))) == 3


def test_a_hooks_tensors_and_operations_may_be_made_in_begin(tmp_path):
    class Counting(v1.train.SessionRunHook):
        def begin(self):
            self.total = v1.get_variable("total", [], initializer=v1.zeros_initializer(), trainable=False)
            self.add = self.total.assign_add(2.0).op

        def before_run(self, run_context):
            return v1.train.SessionRunArgs([self.add, "the_loss:0"])

        def after_run(self, run_context, run_values):
            assert run_values.results[0] is None

        def end(self, session):
            self.final = session.run(self.total)

    hook = Counting()
    train(tmp_path, hook)
    assert hook.final == 12


def test_placeholders_are_fed_by_hooks(tmp_path):
    def model_fn(features, labels, mode, params):
        spec = programs.named_loss_model_fn(features, labels, mode, params)
        tf.identity(v1.placeholder(tf.float32, [], name="fed") * 3, name="tripled")
        return spec

    recorder = Recorder("tripled:0")
    train(tmp_path, v1.train.FeedFnHook(lambda: {"fed:0": 5.0}), recorder, model_fn=model_fn, max_steps=2)
    assert recorder.values == [15, 15]


def test_two_hooks_do_not_feed_the_same_tensor(tmp_path):
    feeding = v1.train.FeedFnHook(lambda: {"the_loss:0": 5.0})
    with pytest.raises(RuntimeError, match="Same tensor is fed by two hooks: the_loss:0"):
        train(tmp_path, feeding, v1.train.FeedFnHook(lambda: {"the_loss:0": 6.0}))


class Exhausted(v1.train.SessionRunHook):
    """Has nothing more to give, at the third call of one of the methods."""

    def __init__(self, method, error):
        self.error = error
        self.num_calls = 0
        setattr(self, method, self.fail_at_third)

    def fail_at_third(self, *arguments):
        self.num_calls += 1
        if self.num_calls == 3:
            raise self.error

    def before_run(self, run_context):
        """See `SessionRunHook`."""

    def after_run(self, run_context, run_values):
        """See `SessionRunHook`."""


@pytest.mark.parametrize("error", [StopIteration(), tf.errors.OutOfRangeError(None, None, "no more")])
@pytest.mark.parametrize(("method", "step"), [("before_run", 2), ("after_run", 3)])
def test_a_hook_that_has_no_more_data_ends_what_it_is_in(tmp_path, error, method, step):
    recorder = Recorder()
    estimator = train(tmp_path, Exhausted(method, error), recorder)
    assert step_reached(estimator) == step
    assert recorder.calls[-1] == "end"
    batches = Recorder()
    params = {"eval_batch_size": 2, "predict_batch_size": 2}
    estimator = programs.make_estimator(tmp_path, **params)
    estimator.evaluate(programs.input_fn, hooks=[Exhausted(method, error), batches])
    assert (batches.calls.count("before_run"), batches.calls[-1]) == (step, "end")
    assert len(list(estimator.predict(programs.input_fn, hooks=[Exhausted(method, error)]))) == 2 * step


def test_stop_at_step_hook(tmp_path):
    assert step_reached(train(tmp_path / "last", v1.train.StopAtStepHook(last_step=4), max_steps=9)) == 4
    assert step_reached(train(tmp_path / "num", v1.train.StopAtStepHook(num_steps=3), max_steps=9)) == 3


def test_a_number_of_steps_counts_anew_at_each_call(tmp_path):
    def model_fn(features, labels, mode, params):
        spec = programs.model_fn(features, labels, mode, params)
        return spec._replace(training_hooks=[v1.train.StopAtStepHook(num_steps=3)])

    estimator = train(tmp_path, max_steps=20, model_fn=model_fn)
    assert step_reached(estimator) == 3
    estimator.train(programs.input_fn, max_steps=20)
    assert step_reached(estimator) == 6


def test_logging_tensor_hook(tmp_path):
    lines = []
    hook = v1.train.LoggingTensorHook({"loss": "the_loss:0"}, every_n_iter=2, formatter=lines.append)
    hook._formatter = lambda values: lines.append(values["loss"]) or ""
    train(tmp_path, hook)
    assert len(lines) == 3
    assert np.isfinite(lines).all()


def test_step_counter_and_summary_saver_hooks(tmp_path):
    def model_fn(features, labels, mode, params):
        spec = programs.named_loss_model_fn(features, labels, mode, params)
        summary = v1.summary.scalar("by_hook", spec.loss)
        saver = v1.train.SummarySaverHook(save_steps=2, output_dir=str(tmp_path / "summaries"), summary_op=summary)
        return spec._replace(training_hooks=[saver])

    counter = v1.train.StepCounterHook(every_n_steps=2, output_dir=str(tmp_path / "counter"))
    train(tmp_path / "model", counter, model_fn=model_fn)
    v1.summary.FileWriterCache.clear()
    assert set(programs.events(tmp_path / "counter")) == {"global_step/sec"}
    assert len(programs.events(tmp_path / "summaries")["by_hook"]) == 3


def test_examples_per_second_hook(tmp_path):
    hook = ExamplesPerSecondHook(8, every_n_steps=2, output_dir=str(tmp_path / "speed"))
    train(tmp_path / "model", hook, max_steps=5)
    v1.summary.FileWriterCache.clear()
    found = programs.events(tmp_path / "speed")
    steps_per_sec, examples_per_sec = found["global_step/sec"], found["examples/sec"]
    assert set(steps_per_sec) == set(examples_per_sec) == {3, 5}
    assert examples_per_sec[5] == pytest.approx(8 * steps_per_sec[5])


def test_nan_tensor_hook(tmp_path):
    def model_fn(features, labels, mode, params):
        spec = programs.named_loss_model_fn(features, labels, mode, params)
        return spec._replace(training_hooks=[v1.train.NanTensorHook(spec.loss * float("nan"))])

    with pytest.raises(v1.train.NanLossDuringTrainingError):
        train(tmp_path, model_fn=model_fn)


def test_hooks_of_evaluation_and_prediction(tmp_path):
    recorders = {mode: Recorder() for mode in (ModeKeys.EVAL, ModeKeys.PREDICT)}

    def model_fn(features, labels, mode, params):
        spec = programs.model_fn(features, labels, mode, params)
        return spec._replace(evaluation_hooks=[recorders["eval"]], prediction_hooks=[recorders["infer"]])

    estimator = programs.make_estimator(tmp_path, model_fn)
    estimator.evaluate(programs.input_fn)
    list(estimator.predict(programs.input_fn))
    for recorder in recorders.values():
        assert recorder.calls.count("after_run") == 3
        assert (recorder.calls[0], recorder.calls[-1]) == ("begin", "end")


def test_final_ops_hook(tmp_path):
    def model_fn(features, labels, mode, params):
        spec = programs.model_fn(features, labels, mode, params)
        hook = v1.train.FinalOpsHook(v1.train.get_global_step() + 0)
        model_fn.hook = hook
        return spec._replace(evaluation_hooks=[hook])

    estimator = programs.make_estimator(tmp_path, model_fn)
    estimator.evaluate(programs.input_fn)
    assert model_fn.hook.final_ops_values == 0


def test_what_is_no_hook_is_refused(tmp_path):
    with pytest.raises(TypeError, match="Hooks must be a SessionRunHook"):
        train(tmp_path, object())


@pytest.mark.parametrize("arguments", [{}, {"use_tpu": True, "config": {"master": "mock:2"}}], ids=["tf", "mock:2"])
def test_variables_are_found_by_name(tmp_path, arguments):
    estimator = programs.make_estimator(tmp_path, **arguments)
    recorder = Recorder(["weights:0", "weights/read:0", "global_step:0"])
    logged = []
    logging_hook = v1.train.LoggingTensorHook(["weights"], 1, formatter=lambda values: str(logged.append(values)))
    estimator.train(programs.input_fn, max_steps=2, hooks=[recorder, logging_hook])
    weights = estimator.get_variable_value("weights")
    for value in (recorder.values[-1][0], recorder.values[-1][1], logged[-1]["weights"]):
        np.testing.assert_array_equal(value, weights)
    assert [values[2] for values in recorder.values] == [1, 2]


def test_a_name_that_nothing_has_is_refused(tmp_path):
    with pytest.raises(KeyError, match="weight:0"):
        train(tmp_path, Recorder("weight:0"))


def test_the_chiefs_hooks_run(tmp_path):
    recorder = Recorder()
    recorder.calls = calls = []

    class Naming(v1.train.SessionRunHook):
        def __init__(self, name):
            self.name = name

        def before_run(self, run_context):
            calls.append(self.name)

    def model_fn(features, labels, mode, params):
        spec = programs.plain_model_fn(features, labels, mode)
        return spec._replace(training_hooks=[Naming("the spec's")], training_chief_hooks=[recorder])

    estimator = Estimator(model_fn, str(tmp_path), params={"batch_size": 8})
    estimator.train(programs.input_fn, max_steps=2, hooks=[Naming("the caller's")])
    per_step = ["before_run", "the caller's", "the spec's", "after_run"]
    assert calls == ["begin", "after_create_session", *per_step, *per_step, "end"]


def test_global_step_waiter_hook(tmp_path):
    train(tmp_path, max_steps=3)
    assert step_reached(train(tmp_path, v1.train.GlobalStepWaiterHook(wait_until_step=2), max_steps=5)) == 5


def test_a_hook_sees_that_one_before_it_wants_to_stop(tmp_path):
    class Watching(v1.train.SessionRunHook):
        def __init__(self):
            self.seen = []

        def after_run(self, run_context, run_values):
            self.seen.append(run_context.stop_requested)

    before, after = Watching(), Watching()
    hooks = [before, v1.train.StopAtStepHook(last_step=2), after]
    programs.make_estimator(tmp_path).train(programs.input_fn, hooks=hooks)
    assert (before.seen, after.seen) == ([False, False], [False, True])
