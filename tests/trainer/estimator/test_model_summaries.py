import json

import numpy as np
import pytest
import tensorflow as tf

from trainer.estimator import BestExporter, ModeKeys, TPUEstimatorSpec
from trainer.estimator.export_outputs import TensorServingInputReceiver

from . import programs

v1 = tf.compat.v1


def model_fn(features, labels, mode, params):
    """Makes summaries of every kind that programs make."""
    spec = programs.model_fn(features, labels, mode, params)
    v1.summary.scalar("own_loss", spec.loss)
    v1.summary.histogram("errors", programs.predicted(features) - labels)
    v1.summary.image("picture", tf.reshape(features[:1], [1, 1, 3, 1]))
    v1.summary.text("told", tf.strings.join([tf.strings.as_string(tf.size(labels)), " examples"]))
    return spec


def summaries(directory):
    """Returns the summary values in a directory's events: `{tag: {step: value}}`."""
    found = {}
    for path in tf.io.gfile.glob(f"{directory}/*tfevents*"):
        for record in tf.data.TFRecordDataset(path):
            event = v1.Event.FromString(record.numpy())
            for value in event.summary.value:
                found.setdefault(value.tag, {})[event.step] = value
    return found


@pytest.mark.parametrize(
    "arguments",
    [{}, pytest.param({"use_tpu": True, "config": {"master": "mock:4"}}, marks=pytest.mark.slow)],
    ids=["tf", "mock:4"],
)
def test_summaries_of_the_model_fn_reach_the_events(tmp_path, arguments, recwarn):
    config = {"save_summary_steps": 3, "log_step_count_steps": 1, **arguments.pop("config", {})}
    estimator = programs.make_estimator(tmp_path, model_fn, config=config, **arguments)
    estimator.train(programs.input_fn, max_steps=7)
    found = summaries(tmp_path)
    for tag in ("own_loss", "errors", "picture/image/0", "told"):
        assert set(found[tag]) == {1, 4, 7}
    rows_seen = 2 if arguments else 8
    assert found["errors"][4].histo.num == rows_seen
    assert tf.io.decode_png(found["picture/image/0"][1].image.encoded_image_string).shape == (1, 3, 1)
    assert tf.make_ndarray(found["told"][1].tensor) == f"{rows_seen} examples".encode()
    if not arguments:
        assert found["own_loss"][4].simple_value == pytest.approx(programs.events(tmp_path)["loss"][4])
    assert not any("TF1 summary" in str(warning.message) for warning in recwarn)


def test_summaries_count_on_from_the_checkpoint(tmp_path):
    for _ in range(2):
        programs.make_estimator(tmp_path, model_fn, config={"save_summary_steps": 10}).train(programs.input_fn, steps=2)
    assert set(summaries(tmp_path)["own_loss"]) == {1, 3}


def test_no_summaries_are_written_when_they_are_switched_off(tmp_path):
    programs.make_estimator(tmp_path, model_fn, config={"save_summary_steps": None}).train(programs.input_fn, steps=2)
    assert set(summaries(tmp_path)) == {"loss", "global_step/sec", "examples/sec"}


def test_summaries_change_nothing(tmp_path):
    weights = []
    for name, program in {"with": model_fn, "without": programs.model_fn}.items():
        estimator = programs.make_estimator(tmp_path / name, program)
        estimator.train(programs.input_fn, max_steps=4)
        weights.append(estimator.get_variable_value("weights"))
    np.testing.assert_array_equal(*weights)


def shown(features):
    image = v1.summary.image("image", tf.reshape(features, [1, 1, 1, 3]))
    metrics = {"image": image, "vector": features, "text": tf.constant(b"\xff"), "flag": tf.constant(True)}
    return {name: (value, tf.no_op()) for name, value in metrics.items()}


def showing_model_fn(features, labels, mode, params):
    if mode == ModeKeys.EVAL:
        loss = tf.reduce_mean(programs.predicted(features))
        metrics = (lambda: shown(tf.constant(programs.FEATURES[0])), [])
        return TPUEstimatorSpec(mode, loss=loss, eval_metrics=metrics)
    return programs.model_fn(features, labels, mode, params)


def receiver_fn():
    features = v1.placeholder(tf.float32, [None, 3])
    return TensorServingInputReceiver(features, {"x": features})


def test_images_and_arrays_of_an_evaluation_reach_the_events(tmp_path, caplog):
    estimator = programs.make_estimator(tmp_path, showing_model_fn).train(programs.input_fn, max_steps=1)
    result = estimator.evaluate(programs.input_fn)
    found = summaries(tmp_path / "eval")
    assert set(found) == {"loss", "image/0", "vector", "flag"}
    assert tf.io.decode_png(found["image/0"][1].image.encoded_image_string).shape == (1, 1, 3)
    np.testing.assert_array_equal(tf.make_ndarray(found["vector"][1].tensor), programs.FEATURES[0])
    assert found["flag"][1].simple_value == 1
    assert "the metric text: its text is no serialised summary" in caplog.text
    # And the best of them is remembered without its picture.
    BestExporter("best", receiver_fn).export(estimator, str(tmp_path), estimator.latest_checkpoint(), result, True)
    assert set(json.loads((tmp_path / "best_eval_result.json").read_text())) == {
        "loss",
        "flag",
        "vector",
        "global_step",
    }


def test_the_loss_is_one_of_the_summaries(tmp_path):
    config = {"save_summary_steps": 3, "log_step_count_steps": None}
    programs.make_estimator(tmp_path, config=config).train(programs.input_fn, steps=5)
    assert set(programs.events(tmp_path)["loss"]) == {1, 4}


def test_the_loss_of_a_step_is_written_once(tmp_path):
    config = {"save_summary_steps": 1, "log_step_count_steps": 2}
    programs.make_estimator(tmp_path, config=config).train(programs.input_fn, steps=4)
    events = [event for path in tmp_path.glob("*tfevents*") for event in v1.train.summary_iterator(str(path))]
    assert [event.step for event in events for value in event.summary.value if value.tag == "loss"] == [1, 2, 3, 4]
