import pytest
import tensorflow as tf

from trainer.estimator import TPUConfig, TPUEstimatorSpec

from . import programs

v1 = tf.compat.v1
summary = tf.compat.v2.summary
ON_EACH_ENGINE = pytest.mark.parametrize(
    "arguments", [{}, {"use_tpu": True, "config": {"master": "mock:4"}}], ids=["tf", "mock:4"]
)


def tensor_events(directory):
    """Returns the scalars of the second summary interface: `{tag: {step: value}}`."""
    found = {}
    for path in tf.io.gfile.glob(f"{directory}/*tfevents*"):
        for record in tf.data.TFRecordDataset(path):
            event = v1.Event.FromString(record.numpy())
            for value in event.summary.value:
                found.setdefault(value.tag, {})[event.step] = float(tf.make_ndarray(value.tensor))
    return found


def make_model_fn(host_fn, tensors_of):
    def model_fn(features, labels, mode, params):
        spec = programs.model_fn(features, labels, mode, params)
        step = v1.train.get_global_step().read_value()
        with tf.control_dependencies([step]):
            train_op = programs.minimize(spec.loss)
        tensors = tensors_of(tf.reshape(step, [1]), tf.reshape(spec.loss, [1]), labels)
        return TPUEstimatorSpec(mode, loss=spec.loss, train_op=train_op, host_call=(host_fn, tensors))

    return model_fn


def recording(calls):
    def host_fn(step, labels):
        return tf.numpy_function(lambda step, labels: calls.append((step.tolist(), labels.shape)), [step, labels], [])

    return host_fn


@ON_EACH_ENGINE
def test_a_host_call_sees_each_step_with_all_examples(tmp_path, arguments):
    calls = []
    model_fn = make_model_fn(recording(calls), lambda step, loss, labels: {"labels": labels, "step": step})
    num_replicas = 4 if arguments else 1
    estimator = programs.make_estimator(tmp_path, model_fn, **arguments)
    estimator.train(programs.input_fn, max_steps=3)
    assert calls == [([step] * num_replicas, (8,)) for step in range(3)]
    estimator.train(programs.input_fn, max_steps=5)
    assert [steps[0] for steps, _ in calls] == [0, 1, 2, 3, 4]


def test_a_host_call_may_be_rarer(tmp_path):
    calls = []
    model_fn = make_model_fn(recording(calls), lambda step, loss, labels: [step, labels])
    config = {"tpu_config": TPUConfig(experimental_host_call_every_n_steps=3)}
    programs.make_estimator(tmp_path, model_fn, config=config).train(programs.input_fn, max_steps=7)
    assert [steps for steps, _ in calls] == [[2], [5]]


@ON_EACH_ENGINE
def test_summaries_of_a_host_call_are_written_and_flushed(tmp_path, arguments):
    host_dir = str(tmp_path / "host")

    def host_fn(step, loss):
        with summary.create_file_writer(host_dir, max_queue=1000).as_default(), summary.record_if(True):
            summary.scalar("host_loss", tf.reduce_mean(loss), step=step[0])
            return v1.summary.all_v2_summary_ops()

    config = {"log_step_count_steps": 1, **arguments.pop("config", {})}
    estimator = programs.make_estimator(
        tmp_path, make_model_fn(host_fn, lambda step, loss, labels: [step, loss]), config=config, **arguments
    )
    estimator.train(programs.input_fn, max_steps=4)
    found = tensor_events(host_dir)["host_loss"]
    losses = programs.events(tmp_path)["loss"]
    assert sorted(found) == [0, 1, 2, 3]
    assert {4} <= losses.keys()
    assert {step + 1: found[step] for step in range(4) if step + 1 in losses} == pytest.approx(losses, rel=1e-5)


def test_summaries_of_tensorflow_1_are_refused_in_a_host_call(tmp_path):
    def host_fn(step):
        return [v1.summary.scalar("lost", step[0])]

    model_fn = make_model_fn(host_fn, lambda step, loss, labels: [step])
    with pytest.raises(ValueError, match=r"tf\.summary of TensorFlow 1 is not supported in a host_call"):
        programs.make_estimator(tmp_path, model_fn).train(programs.input_fn, max_steps=1)


def test_a_host_call_has_variables_of_its_own(tmp_path):
    totals = []

    def host_fn(loss):
        count = v1.get_variable("count", [], initializer=v1.zeros_initializer(), trainable=False)
        return tf.numpy_function(totals.append, [count.assign_add(1.0)], [])

    model_fn = make_model_fn(host_fn, lambda step, loss, labels: [loss])
    estimator = programs.make_estimator(tmp_path, model_fn)
    estimator.train(programs.input_fn, max_steps=3)
    assert totals == [1, 2, 3]
    assert "count" not in estimator.get_variable_names()


def test_the_second_summary_interface_works_inside_the_model_fn(tmp_path):
    directory = str(tmp_path / "inside")

    def model_fn(features, labels, mode, params):
        spec = programs.model_fn(features, labels, mode, params)
        with tf.init_scope():
            writer = summary.create_file_writer(directory)
        model_fn.writer = writer
        with writer.as_default(), summary.record_if(True):
            summary.scalar("inside", spec.loss, step=v1.train.get_global_step())
        return spec

    programs.make_estimator(tmp_path, model_fn).train(programs.input_fn, max_steps=2)
    model_fn.writer.flush()
    assert len(tensor_events(directory)["inside"]) == 2
