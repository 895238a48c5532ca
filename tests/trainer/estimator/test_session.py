import numpy as np
import pytest
import tensorflow as tf

from trainer.estimator import Estimator, EstimatorSpec, InMemoryEvaluatorHook, ModeKeys, RunConfig, TPUEstimatorSpec

from . import programs

v1 = tf.compat.v1


class Asking(v1.train.SessionRunHook):
    """Asks the session for the loss, which needs a batch."""

    def __init__(self, when):
        self.when = when
        self.losses = []

    def after_create_session(self, session, coord):
        if self.when == "before":
            self.losses.append(session.run("the_loss:0"))

    def after_run(self, run_context, run_values):
        if self.when == "between":
            self.losses.append(run_context.session.run("the_loss:0"))


@pytest.mark.parametrize(
    ("when", "arguments"), [("before", {}), ("between", {"use_tpu": True, "config": {"master": "mock:2"}})]
)
def test_a_session_does_not_run_what_needs_a_batch_that_is_not_here(tmp_path, when, arguments):
    estimator = programs.make_estimator(tmp_path, programs.named_loss_model_fn, **arguments)
    with pytest.raises(ValueError, match="fetch what depends on it together with a step"):
        estimator.train(programs.input_fn, max_steps=2, hooks=[Asking(when)])


def whole_input_fn():
    return tf.data.Dataset.from_tensor_slices((programs.FEATURES, programs.LABELS)).batch(20).repeat()


def test_a_session_takes_the_latest_batch_for_what_needs_one(tmp_path):
    def model_fn(features, labels, mode, params):
        loss = tf.reduce_mean((programs.predicted(features) - labels) ** 2, name="the_loss")
        return TPUEstimatorSpec(mode, loss=loss, train_op=programs.minimize(loss))

    hook = Asking("between")
    train_loss = programs.loss_recorder()
    logged = []
    at_end = v1.train.LoggingTensorHook(["the_loss"], at_end=True, formatter=lambda values: str(logged.append(values)))
    estimator = programs.make_estimator(tmp_path, model_fn)
    estimator.train(whole_input_fn, max_steps=3, hooks=[train_loss, hook, at_end])
    # All batches are alike: the loss after a step is that before the next.
    np.testing.assert_array_equal(hook.losses[:2], train_loss.losses[1:])
    assert logged == [{"the_loss": hook.losses[-1]}]


def test_what_is_fed_takes_the_place_of_that_part_of_the_latest_batch(tmp_path):
    class Feeding(v1.train.SessionRunHook):
        def begin(self):
            self.losses = []

        def after_run(self, run_context, run_values):
            run = run_context.session.run
            predicted = run("predicted:0")
            self.losses.append(run("the_loss:0", {label_names[0]: predicted}))

    label_names = []

    def model_fn(features, labels, mode, params):
        label_names.append(labels.name)
        predicted = tf.identity(programs.predicted(features), name="predicted")
        loss = tf.reduce_mean((predicted - labels) ** 2, name="the_loss")
        return TPUEstimatorSpec(mode, loss=loss, train_op=programs.minimize(loss))

    hook = Feeding()
    programs.make_estimator(tmp_path, model_fn).train(whole_input_fn, max_steps=2, hooks=[hook])
    assert hook.losses == [0, 0]


class Overwriting(v1.train.SessionRunHook):
    """Gives the weights other values before the first step, as hooks that load averages do."""

    def begin(self):
        self.weights = next(variable for variable in v1.global_variables() if variable.op.name == "weights")
        self.overwrite = v1.assign(self.weights, [9.0, 9.0, 9.0])

    def after_create_session(self, session, coord):
        session.run(self.overwrite)


def predicted_values(estimator, **arguments):
    return [prediction["value"] for prediction in estimator.predict(programs.input_fn, **arguments)]


@pytest.mark.parametrize(
    "arguments",
    [{}, pytest.param({"use_tpu": True, "config": {"master": "mock:2"}}, marks=pytest.mark.slow)],
    ids=["tf", "mock:2"],
)
def test_what_a_hook_assigns_holds_for_that_evaluation_alone(tmp_path, arguments):
    estimator = programs.make_estimator(tmp_path, **arguments)
    estimator.train(programs.input_fn, max_steps=2)
    error, values = estimator.evaluate(programs.input_fn)["squared_error"], predicted_values(estimator)
    nines = programs.FEATURES.sum(axis=1) * 9
    found = estimator.evaluate(programs.input_fn, hooks=[Overwriting()])["squared_error"]
    assert found == pytest.approx(np.mean((nines - programs.LABELS) ** 2), rel=1e-5)
    assert estimator.evaluate(programs.input_fn)["squared_error"] == error
    np.testing.assert_allclose(predicted_values(estimator, hooks=[Overwriting()]), nines, atol=1e-5)
    np.testing.assert_array_equal(predicted_values(estimator), values)


class EvaluateOnSave(v1.train.CheckpointSaverListener):
    def __init__(self, estimator, input_fn, **arguments):
        self.estimator = estimator
        self.input_fn = input_fn
        self.arguments = arguments

    def after_save(self, session, global_step_value):
        self.estimator.evaluate(self.input_fn, **self.arguments)


class Adding(v1.train.SessionRunHook):
    """Adds 1 to a variable at each step, by a fetch or by a session."""

    def __init__(self, name, by):
        self.name = name
        self.by = by

    def begin(self):
        variables = v1.global_variables() + v1.local_variables()
        variable = next(variable for variable in variables if variable.op.name == self.name)
        self.add = v1.assign_add(variable, tf.ones_like(variable))

    def before_run(self, run_context):
        return v1.train.SessionRunArgs(self.add) if self.by == "fetch" else None

    def after_run(self, run_context, run_values):
        if self.by == "session":
            run_context.session.run(self.add)


def model_fn_with_a_local_variable(features, labels, mode, params):
    local = v1.get_variable("local", [], initializer=v1.zeros_initializer(), collections=[v1.GraphKeys.LOCAL_VARIABLES])
    values = programs.predicted(features) + local
    if mode == ModeKeys.PREDICT:
        return TPUEstimatorSpec(mode, predictions={"value": values})
    loss = tf.reduce_mean((values - labels) ** 2)
    return TPUEstimatorSpec(mode, loss=loss, train_op=programs.minimize(loss))


@pytest.mark.parametrize(
    "arguments",
    [{}, pytest.param({"use_tpu": True, "config": {"master": "mock:2"}}, marks=pytest.mark.slow)],
    ids=["tf", "mock:2"],
)
@pytest.mark.parametrize("name", ["weights", "local"])
@pytest.mark.parametrize("by", ["fetch", "session"])
def test_what_a_hook_adds_at_each_step_is_gone_afterwards(tmp_path, arguments, name, by):
    estimator = programs.make_estimator(tmp_path, model_fn_with_a_local_variable, **arguments)
    estimator.train(programs.input_fn, max_steps=2)
    loss, values = estimator.evaluate(programs.input_fn)["loss"], predicted_values(estimator)
    assert estimator.evaluate(programs.input_fn, hooks=[Adding(name, by)])["loss"] != loss
    assert estimator.evaluate(programs.input_fn)["loss"] == loss
    changed = predicted_values(estimator, hooks=[Adding(name, by)])
    np.testing.assert_array_equal(changed[:8], values[:8])
    added = programs.FEATURES[8:16].sum(axis=1) if name == "weights" else np.ones(8)
    np.testing.assert_allclose(np.subtract(changed[8:16], values[8:16]), added, rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(predicted_values(estimator), values)
    weights = estimator.get_variable_value("weights")
    estimator.train(programs.input_fn, max_steps=3)
    assert np.abs(estimator.get_variable_value("weights") - weights).max() < 0.5


class OverwriteOnSave(EvaluateOnSave):
    def after_save(self, session, global_step_value):
        super().after_save(session, global_step_value)
        predicted_values(self.estimator, hooks=[Overwriting()])


def test_what_a_hook_of_an_evaluation_assigns_is_not_for_the_training_around_it(tmp_path):
    finals = []
    for name in ("alone", "listening", "in_memory"):
        estimator = programs.make_estimator(tmp_path / name, config={"save_checkpoints_steps": 2})
        listeners = (
            [OverwriteOnSave(estimator, programs.input_fn, hooks=[Overwriting()])] if name == "listening" else []
        )
        in_memory = InMemoryEvaluatorHook(estimator, programs.input_fn, hooks=[Overwriting()], every_n_iter=2)
        hooks = [in_memory] if name == "in_memory" else []
        estimator.train(programs.input_fn, max_steps=5, saving_listeners=listeners, hooks=hooks)
        finals.append(estimator.get_variable_value("weights"))
    np.testing.assert_array_equal(finals[1], finals[0])
    np.testing.assert_array_equal(finals[2], finals[0])


@pytest.mark.parametrize("arguments", [{}, {"use_tpu": True, "config": {"master": "mock:4"}}], ids=["tf", "mock:4"])
def test_a_session_sees_and_changes_the_state_between_steps(tmp_path, arguments):
    class Resetting(v1.train.SessionRunHook):
        def __init__(self):
            self.seen = []

        def begin(self):
            self.weights = next(variable for variable in v1.trainable_variables() if variable.op.name == "weights")
            self.reset = self.weights.assign([7.0, 7.0, 7.0])

        def after_run(self, run_context, run_values):
            step, weights = run_context.session.run([v1.train.get_global_step(), self.weights])
            self.seen.append((step, weights.tolist()))
            if step == 2:
                run_context.session.run(self.reset)

    hook = Resetting()
    estimator = programs.make_estimator(tmp_path, **arguments)
    estimator.train(programs.input_fn, max_steps=3, hooks=[hook])
    assert [step for step, _ in hook.seen] == [1, 2, 3]
    assert hook.seen[0][1] != hook.seen[1][1]
    np.testing.assert_allclose(hook.seen[2][1], 7, atol=2)
    np.testing.assert_array_equal(estimator.get_variable_value("weights"), np.float32(hook.seen[2][1]))


def counting_model_fn(features, labels, mode):
    """Counts its steps in a variable that is not saved, as metrics do."""
    loss = tf.reduce_mean((programs.predicted(features) - labels) ** 2)
    count = v1.get_local_variable("count", [], initializer=v1.zeros_initializer())
    counted = v1.assign_add(count, 1.0)
    if mode == ModeKeys.EVAL:
        return EstimatorSpec(mode, loss=loss, eval_metric_ops={"count": (count.read_value(), counted)})
    with tf.control_dependencies([counted]):
        return EstimatorSpec(mode, loss=loss, train_op=programs.minimize(loss))


def test_local_variables_start_anew_at_each_call_and_each_call_has_its_own(tmp_path):
    estimator = Estimator(counting_model_fn, str(tmp_path), RunConfig(save_checkpoints_steps=2))
    counts = []
    hook = v1.train.LoggingTensorHook(["count:0"], 1, formatter=lambda values: str(counts.append(*values.values())))
    listener = EvaluateOnSave(estimator, whole_input_fn, steps=3)
    for _ in range(2):
        estimator.train(whole_input_fn, steps=4, hooks=[hook], saving_listeners=[listener])
    assert counts == [1, 2, 3, 4] * 2
    assert estimator.evaluate(whole_input_fn, steps=3)["count"] == 3
    assert estimator.get_variable_names() == ["global_step", "weights", "weights/Momentum"]


class FailingEvaluation(EvaluateOnSave):
    """Goes on without an evaluation whose data end in an error."""

    def after_save(self, session, global_step_value):
        with pytest.raises(tf.errors.InvalidArgumentError, match="broken"):
            super().after_save(session, global_step_value)


def broken_input_fn():
    check = lambda n: tf.debugging.Assert(n < 2, ["broken"])  # noqa: E731

    def checked(n, batch):
        with tf.control_dependencies([check(n)]):
            return tf.nest.map_structure(tf.identity, batch)

    return whole_input_fn().enumerate().map(checked)


def test_an_evaluation_that_fails_leaves_local_variables_to_the_training_around_it(tmp_path):
    estimator = Estimator(counting_model_fn, str(tmp_path), RunConfig(save_checkpoints_steps=2))
    counts = []
    hook = v1.train.LoggingTensorHook(["count:0"], 1, formatter=lambda values: str(counts.append(*values.values())))
    estimator.train(
        whole_input_fn, steps=4, hooks=[hook], saving_listeners=[FailingEvaluation(estimator, broken_input_fn)]
    )
    assert counts == [1, 2, 3, 4]


class Saving(v1.train.SessionRunHook):
    """Saves and restores by TensorFlow 1's own Saver, as hooks do that keep the best weights."""

    def __init__(self, directory):
        self.directory = directory

    def begin(self):
        self.saver = v1.train.Saver()
        (self.weights,) = v1.trainable_variables()

    def after_run(self, run_context, run_values):
        self.saver.save(run_context.session, f"{self.directory}/own", run_context.session.run("global_step:0"))

    def end(self, session):
        self.last = self.weights.eval(session)
        self.saver.restore(session, f"{self.directory}/own-2")
        with session.as_default():
            self.restored = self.weights.eval()


@pytest.mark.parametrize("arguments", [{}, {"use_tpu": True, "config": {"master": "mock:2"}}], ids=["tf", "mock:2"])
def test_a_saver_of_tensorflow_1_saves_and_restores_by_a_session(tmp_path, arguments):
    estimator = programs.make_estimator(tmp_path / "model", **arguments)
    hook = Saving(tmp_path)
    estimator.train(programs.input_fn, max_steps=3, hooks=[hook])
    np.testing.assert_array_equal(hook.last, estimator.get_variable_value("weights"))
    np.testing.assert_array_equal(hook.last, tf.train.load_variable(f"{tmp_path}/own-3", "weights"))
    np.testing.assert_array_equal(hook.restored, tf.train.load_variable(f"{tmp_path}/own-2", "weights"))
    assert not np.array_equal(hook.last, hook.restored)


class Resetting(v1.train.SessionRunHook):
    """Gives local variables their first value after each step, and the weight at the end."""

    def __init__(self):
        self.counts = []

    def begin(self):
        self.reset = v1.local_variables_initializer()
        self.restart = v1.global_variables_initializer()

    def after_run(self, run_context, run_values):
        for _ in range(2):
            self.counts.append(run_context.session.run("steps:0"))
            run_context.session.run(self.reset)

    def end(self, session):
        session.run(self.restart)
        self.weight = session.run("weight:0")


def test_initializers_of_variables_run_when_they_are_asked_for(tmp_path):
    def model_fn(features, labels, mode):
        weight = v1.get_variable("weight", [], initializer=v1.constant_initializer(3.0))
        collections = [v1.GraphKeys.LOCAL_VARIABLES]
        steps = v1.get_variable("steps", [], initializer=v1.zeros_initializer(), collections=collections)
        loss = tf.reduce_mean((weight - features) ** 2)
        train_op = tf.group(programs.minimize(loss), v1.assign_add(steps, 1.0))
        local_init_op = tf.group(v1.local_variables_initializer(), v1.tables_initializer())
        scaffold = v1.train.Scaffold(init_op=v1.global_variables_initializer(), local_init_op=local_init_op)
        return EstimatorSpec(mode, loss=loss, train_op=train_op, scaffold=scaffold)

    hook = Resetting()
    estimator = Estimator(model_fn, tmp_path)
    estimator.train(whole_input_fn, steps=2)
    assert estimator.get_variable_value("weight") != 3
    estimator.train(whole_input_fn, steps=2, hooks=[hook])
    assert (hook.counts, hook.weight) == ([1, 0, 1, 0], 3)
