"""`train_and_evaluate` and exporters, with real trainings."""

import json
import pathlib
import threading
import time

import numpy as np
import pytest
import tensorflow as tf

from trainer.estimator import (
    BestExporter,
    Estimator,
    EvalSpec,
    Exporter,
    FinalExporter,
    LatestExporter,
    ModeKeys,
    TrainSpec,
    exporters,
    train_and_evaluate,
)
from trainer.estimator.export_outputs import TensorServingInputReceiver
from trainer.estimator.train_and_evaluate import EvaluationRounds

from . import programs

v1 = tf.compat.v1


def receiver_fn():
    features = v1.placeholder(tf.float32, [None, 3])
    return TensorServingInputReceiver(features, {"x": features})


def run(model_dir, *exporter_list, max_steps=8, model_fn=programs.model_fn, **spec):
    estimator = programs.make_estimator(model_dir, model_fn, config={"save_checkpoints_steps": 2})
    eval_spec = EvalSpec(programs.input_fn, exporters=exporter_list, **{"steps": None, "throttle_secs": 0, **spec})
    return train_and_evaluate(estimator, TrainSpec(programs.input_fn, max_steps=max_steps), eval_spec)


def exports(model_dir, name):
    return exporters.export_dirs(str(pathlib.Path(model_dir) / "export" / name))


def weights_of(export_dir):
    """Returns the weights of an export, seen through its predictions."""
    serve = tf.saved_model.load(export_dir).signatures["serving_default"]
    return serve(x=tf.eye(3))["value"].numpy()


def weights_at(model_dir, step):
    return tf.train.load_variable(f"{model_dir}/model.ckpt-{step}", "weights")


def test_every_checkpoint_is_evaluated_and_the_last_metrics_come_back(tmp_path):
    metrics, exported = run(tmp_path)
    found = programs.events(tmp_path / "eval")["squared_error"]
    assert sorted(found) == [2, 4, 6, 8]
    assert metrics["global_step"] == 8
    assert metrics["squared_error"] == pytest.approx(found[8])
    assert exported == []


def test_evaluations_are_throttled_but_for_the_last(tmp_path):
    run(tmp_path, throttle_secs=600, name="slow")
    assert sorted(programs.events(tmp_path / "eval_slow")["loss"]) == [2, 8]


def test_the_programs_are_traced_once(tmp_path):
    calls = []

    def model_fn(features, labels, mode, params):
        calls.append(mode)
        return programs.model_fn(features, labels, mode, params)

    run(tmp_path, model_fn=model_fn, max_steps=12)
    assert sorted(calls) == [ModeKeys.EVAL, ModeKeys.TRAIN]


def test_a_checkpoint_that_turns_out_to_be_the_last_is_evaluated_once(tmp_path):
    class Counter(v1.train.SessionRunHook):
        evaluations = 0

        def begin(self):
            self.evaluations += 1

    counter = Counter()
    estimator = programs.make_estimator(tmp_path, config={"save_checkpoints_steps": 2})
    # The data, 20 examples in batches of 8, end in the third step.
    train_spec = TrainSpec(lambda params: programs.input_fn(ModeKeys.EVAL, params))
    exporter_list = [LatestExporter("latest", receiver_fn), FinalExporter("final", receiver_fn)]
    eval_spec = EvalSpec(programs.input_fn, hooks=[counter], exporters=exporter_list, throttle_secs=0)
    metrics, exported = train_and_evaluate(estimator, train_spec, eval_spec)
    assert (counter.evaluations, metrics["global_step"]) == (2, 3)
    latest, final = exports(tmp_path, "latest"), exports(tmp_path, "final")
    assert (len(latest), exported) == (2, [latest[-1], *final])


def test_training_that_is_over_is_evaluated_again(tmp_path):
    first, _ = run(tmp_path)
    again, _ = run(tmp_path)
    assert again == first


def test_training_is_as_without_evaluation(tmp_path):
    run(tmp_path / "evaluated")
    estimator = programs.make_estimator(tmp_path / "alone", config={"save_checkpoints_steps": 2})
    estimator.train(programs.input_fn, max_steps=8)
    np.testing.assert_array_equal(weights_at(tmp_path / "evaluated", 8), weights_at(tmp_path / "alone", 8))


@pytest.mark.slow
def test_the_latest_exporter_keeps_the_newest(tmp_path):
    _, exported = run(tmp_path, LatestExporter("latest", receiver_fn, exports_to_keep=2))
    kept = exports(tmp_path, "latest")
    assert len(kept) == 2
    assert exported == [kept[-1]]
    np.testing.assert_allclose(weights_of(kept[-1]), weights_at(tmp_path, 8), rtol=1e-5)
    np.testing.assert_allclose(weights_of(kept[0]), weights_at(tmp_path, 6), rtol=1e-5)


def test_the_final_exporter_exports_once(tmp_path):
    _, exported = run(tmp_path, FinalExporter("final", receiver_fn))
    assert exported == exports(tmp_path, "final")
    np.testing.assert_allclose(weights_of(exported[0]), weights_at(tmp_path, 8), rtol=1e-5)


class Results:
    """A model_fn whose loss in evaluation is what is wanted at each step."""

    def __init__(self, loss_by_step):
        self.loss_by_step = loss_by_step

    def __call__(self, features, labels, mode, params):
        spec = programs.model_fn(features, labels, mode, params)
        if mode != ModeKeys.EVAL:
            return spec
        table = tf.constant([self.loss_by_step.get(step, 9.0) for step in range(20)])
        return spec._replace(loss=tf.gather(table, v1.train.get_global_step()))


@pytest.mark.slow
def test_the_best_exporter_exports_improvements_and_remembers_them_after_a_restart(tmp_path):
    make_exporter = lambda: BestExporter("best", receiver_fn)  # noqa: E731
    results = {2: 5.0, 4: 3.0, 6: 4.0, 8: 3.5, 10: 3.2, 12: 1.0}
    _, exported = run(tmp_path, make_exporter(), model_fn=Results(results))
    assert exported == [None]
    assert len(exports(tmp_path, "best")) == 2
    np.testing.assert_allclose(weights_of(exports(tmp_path, "best")[-1]), weights_at(tmp_path, 4), rtol=1e-5)
    _, exported = run(tmp_path, make_exporter(), model_fn=Results(results), max_steps=10)
    assert exported == [None]
    _, exported = run(tmp_path, make_exporter(), model_fn=Results(results), max_steps=12)
    assert exported == [exports(tmp_path, "best")[-1]]
    record = json.loads((tmp_path / "export" / "best" / "best_eval_result.json").read_text())
    assert (record["loss"], record["global_step"]) == (1.0, 12)


@pytest.mark.slow
def test_what_is_better_can_be_told(tmp_path):
    def compare_fn(best_eval_result, current_eval_result):
        return current_eval_result["loss"] > best_eval_result["loss"]

    exporter = BestExporter("best", receiver_fn, compare_fn=compare_fn, exports_to_keep=1)
    run(tmp_path, exporter, model_fn=Results({2: 5.0, 4: 7.0, 6: 4.0, 8: 3.5}))
    (kept,) = exports(tmp_path, "best")
    np.testing.assert_allclose(weights_of(kept), weights_at(tmp_path, 4), rtol=1e-5)


def test_exporters_of_the_program_are_told_everything(tmp_path):
    calls = []

    class Told(Exporter):
        name = "told"

        def export(self, estimator, export_path, checkpoint_path, eval_result, is_the_final_export):
            calls.append((export_path, checkpoint_path, eval_result["global_step"], is_the_final_export))
            return "answer"

    _, exported = run(tmp_path, Told(), max_steps=4)
    path = f"{tmp_path}/export/told"
    assert calls == [
        (path, f"{tmp_path}/model.ckpt-2", 2, False),
        (path, f"{tmp_path}/model.ckpt-4", 4, True),
    ]
    assert exported == ["answer"]


def any_estimator():
    return Estimator(programs.plain_model_fn)


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: TrainSpec(7), TypeError, "`input_fn` must be callable"),
        (lambda: TrainSpec(min, max_steps=0), ValueError, "Must specify max_steps > 0"),
        (lambda: TrainSpec(min, hooks=[7]), TypeError, "All hooks must be `SessionRunHook` instances"),
        (
            lambda: TrainSpec(min, saving_listeners=[7]),
            TypeError,
            "All saving_listeners must be `CheckpointSaverListener`",
        ),
        (lambda: EvalSpec(7), TypeError, "`input_fn` must be callable"),
        (lambda: EvalSpec(min, steps=0), ValueError, "Must specify steps > 0"),
        (lambda: EvalSpec(min, name=7), TypeError, "`name` must be string"),
        (lambda: EvalSpec(min, start_delay_secs=-1), ValueError, "start_delay_secs >= 0"),
        (lambda: EvalSpec(min, throttle_secs=-1), ValueError, "throttle_secs >= 0"),
        (lambda: EvalSpec(min, exporters=[7]), TypeError, "must be a list of Exporter"),
        (lambda: EvalSpec(min, exporters=7), TypeError, "must be a list of Exporter"),
        (lambda: EvalSpec(min, exporters=[FinalExporter("a", min)] * 2), ValueError, "must have unique names"),
        (lambda: EvalSpec(min, exporters=FinalExporter("", min)), ValueError, "must have unique names"),
        (lambda: LatestExporter("a", min, exports_to_keep=0), ValueError, "must be a positive number"),
        (
            lambda: BestExporter(serving_input_receiver_fn=min, compare_fn=7),
            ValueError,
            "`compare_fn` must be callable",
        ),
        (BestExporter, ValueError, "`serving_input_receiver_fn` must be given"),
        (lambda: train_and_evaluate(7, TrainSpec(min), EvalSpec(min)), TypeError, "must have type `Estimator`"),
        (lambda: train_and_evaluate(any_estimator(), 7, EvalSpec(min)), TypeError, "`train_spec` must have type"),
        (lambda: train_and_evaluate(any_estimator(), TrainSpec(min), 7), TypeError, "`eval_spec` must have type"),
        (lambda: exporters.loss_is_smaller({}, {"loss": 1}), ValueError, "best_eval_result cannot be empty"),
        (lambda: exporters.loss_is_smaller({"loss": 1}, None), ValueError, "current_eval_result cannot be empty"),
    ],
)
def test_specs_and_exporters_check_themselves(make, error, message):
    with pytest.raises(error, match=message):
        make()


def test_defaults_are_those_of_tensorflow_1():
    spec = EvalSpec(min)
    assert (spec.steps, spec.start_delay_secs, spec.throttle_secs) == (100, 120, 600)


def test_exporters_may_be_any_iterable():
    exporter = FinalExporter("a", min)
    assert EvalSpec(min, exporters=iter([exporter])).exporters == EvalSpec(min, exporters=exporter).exporters


def test_specs_can_be_changed():
    assert TrainSpec(min, max_steps=3)._replace(max_steps=4) == TrainSpec(min, max_steps=4)
    with pytest.raises(ValueError, match="steps > 0"):
        EvalSpec(min)._replace(steps=0)


def set_task(monkeypatch, task_type, chief_type="chief"):
    cluster = {chief_type: ["a:1"], "worker": ["b:1"]}
    monkeypatch.setenv("TF_CONFIG", json.dumps({"cluster": cluster, "task": {"type": task_type, "index": 0}}))


def test_the_chief_of_a_cluster_leaves_evaluation_to_the_evaluator(tmp_path, monkeypatch):
    set_task(monkeypatch, "chief")
    assert run(tmp_path, FinalExporter("final", receiver_fn)) == ({}, [])
    assert (tmp_path / "model.ckpt-8.index").exists()
    assert not (tmp_path / "eval").exists()
    assert not exports(tmp_path, "final")


def test_a_master_trains_evaluates_and_exports(tmp_path, monkeypatch):
    set_task(monkeypatch, "master", chief_type="master")
    metrics, exported = run(tmp_path, FinalExporter("final", receiver_fn), max_steps=4)
    assert metrics["global_step"] == 4
    assert exported == exports(tmp_path, "final")
    assert sorted(programs.events(tmp_path / "eval")["loss"]) == [2, 4]


def test_a_worker_of_a_cluster_is_refused(tmp_path, monkeypatch):
    set_task(monkeypatch, "worker")
    with pytest.raises(ValueError, match=r"TF_CONFIG makes this task a 'worker'.*run one chief"):
        run(tmp_path)


@pytest.mark.slow
def test_the_evaluator_of_a_cluster_watches_until_the_last_step(tmp_path, monkeypatch):
    trainer = programs.make_estimator(tmp_path, config={"save_checkpoints_steps": 2})
    set_task(monkeypatch, "evaluator")

    def train():
        time.sleep(1)
        trainer.train(programs.input_fn, max_steps=4)

    thread = threading.Thread(target=train)
    thread.start()
    metrics, exported = run(tmp_path, FinalExporter("final", receiver_fn), max_steps=4, start_delay_secs=0)
    thread.join()
    assert metrics["global_step"] == 4
    assert exported == exports(tmp_path, "final")


class RemoveOldest(v1.train.SessionRunHook):
    """Does to the evaluator's first evaluation what a chief does that keeps few checkpoints."""

    def __init__(self, model_dir):
        self.model_dir = model_dir
        self.has_removed = threading.Event()

    def begin(self):
        for path in self.model_dir.glob("model.ckpt-2.*"):
            path.unlink()
        self.has_removed.set()


def test_an_evaluator_waits_for_another_checkpoint_when_the_chief_removes_one(tmp_path, monkeypatch):
    trainer = programs.make_estimator(tmp_path)
    trainer.train(programs.input_fn, max_steps=2)
    set_task(monkeypatch, "evaluator")
    chief = RemoveOldest(tmp_path)

    def train_on():
        chief.has_removed.wait()
        trainer.train(programs.input_fn, max_steps=4)

    thread = threading.Thread(target=train_on)
    thread.start()
    metrics, _ = run(tmp_path, max_steps=4, start_delay_secs=0, hooks=[chief])
    thread.join()
    assert metrics["global_step"] == 4
    assert 2 not in programs.events(tmp_path / "eval")["loss"]


def test_a_round_is_of_the_checkpoint_that_was_looked_at(tmp_path):
    """Else the last one, saved meanwhile, would be evaluated as any other, and the evaluator wait for it for ever."""
    estimator = programs.make_estimator(tmp_path, config={"save_checkpoints_steps": 2})
    estimator.train(programs.input_fn, max_steps=4)
    eval_spec = EvalSpec(programs.input_fn, steps=None, start_delay_secs=0, throttle_secs=0)
    rounds = EvaluationRounds(estimator, TrainSpec(programs.input_fn, max_steps=4), eval_spec)
    rounds.run(is_final=False, path=str(tmp_path / "model.ckpt-2"))
    metrics, _ = rounds.watch()
    assert metrics["global_step"] == 4
    assert sorted(programs.events(tmp_path / "eval")["loss"]) == [2, 4]
