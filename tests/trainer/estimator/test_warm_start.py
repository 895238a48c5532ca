import numpy as np
import pytest
import tensorflow as tf

from trainer.estimator import TPUEstimatorSpec, WarmStartSettings, export_outputs
from trainer.estimator.warm_start import VocabInfo, WarmStartError

from . import programs

v1 = tf.compat.v1


@pytest.fixture(name="trained")
def fixture_trained(tmp_path):
    estimator = programs.make_estimator(tmp_path / "trained")
    estimator.train(programs.input_fn, max_steps=5)
    return estimator


def first_values(tmp_path, warm_start_from, model_fn=programs.model_fn):
    """Returns the first checkpoint of a training that starts warm."""
    estimator = programs.make_estimator(tmp_path / "model", model_fn, warm_start_from=warm_start_from)
    estimator.train(programs.input_fn, steps=1)
    first = min(tf.io.gfile.glob(f"{tmp_path}/model/*.index")).removesuffix(".index")
    return {name: tf.train.load_variable(first, name) for name, _ in tf.train.list_variables(first)}


def renamed_model_fn(features, labels, mode, params):
    """Its weights have another name, and another variable has no part in the model."""
    v1.get_variable("head", [2], initializer=v1.ones_initializer())
    loss = tf.reduce_mean((tf.linalg.matvec(features, v1.get_variable("renamed", [3])) - labels) ** 2)
    return TPUEstimatorSpec(mode, loss=loss, train_op=programs.minimize(loss))


@pytest.mark.parametrize("of", [lambda trained: trained.model_dir, lambda trained: trained.latest_checkpoint()])
def test_a_path_stands_for_all_trainable_variables_and_no_others(trained, tmp_path, of):
    found = first_values(tmp_path, of(trained))
    np.testing.assert_array_equal(found["weights"], trained.get_variable_value("weights"))
    assert not found["weights/Momentum"].any()
    assert found["global_step"] == 0


def test_a_list_of_names_stands_for_variables_of_every_kind(trained, tmp_path):
    found = first_values(tmp_path, WarmStartSettings(trained.model_dir, ["weights"]))
    for name in ("weights", "weights/Momentum"):
        np.testing.assert_array_equal(found[name], trained.get_variable_value(name))
    assert found["global_step"] == 0


def test_a_list_may_take_the_step_along(trained, tmp_path):
    found = first_values(tmp_path, WarmStartSettings(trained.model_dir, [".*"]))
    assert found["global_step"] == 5
    assert {path.stem for path in (tmp_path / "model").glob("*.index")} == {"model.ckpt-5", "model.ckpt-6"}


def test_names_may_have_changed(trained, tmp_path):
    settings = WarmStartSettings(trained.model_dir, "ren", var_name_to_prev_var_name={"renamed": "weights"})
    found = first_values(tmp_path, settings, renamed_model_fn)
    np.testing.assert_array_equal(found["renamed"], trained.get_variable_value("weights"))
    np.testing.assert_array_equal(found["head"], [1, 1])


def test_a_saved_model_is_a_warm_start(trained, tmp_path):
    receiver_fn = export_outputs.build_raw_serving_input_receiver_fn({"x": programs.FEATURES})
    tensor_receiver_fn = lambda: receiver_fn().features["x"]  # noqa: E731

    def serving_input_receiver_fn():
        placeholder = tensor_receiver_fn()
        return export_outputs.TensorServingInputReceiver(placeholder, placeholder)

    export_dir = trained.export_saved_model(str(tmp_path / "export"), serving_input_receiver_fn)
    found = first_values(tmp_path, export_dir)
    np.testing.assert_array_equal(found["weights"], trained.get_variable_value("weights"))


def test_missing_variables_are_all_named(trained, tmp_path):
    with pytest.raises(WarmStartError, match=r"model\.ckpt-5: has no variable head, renamed; .*vars_to_warm_start"):
        first_values(tmp_path, trained.model_dir, renamed_model_fn)


@pytest.mark.parametrize("pattern", ["wieghts.*", ["wieghts", "eights"]])
def test_a_pattern_that_matches_nothing_is_refused(trained, tmp_path, pattern):
    with pytest.raises(WarmStartError, match=r"no variable's name begins with 'wieghts.*there are .*weights"):
        first_values(tmp_path, WarmStartSettings(trained.model_dir, pattern))


def test_one_pattern_of_several_that_matches_nothing_is_warned_of(trained, tmp_path, caplog):
    found = first_values(tmp_path, WarmStartSettings(trained.model_dir, ["weights", "absent"]))
    np.testing.assert_array_equal(found["weights"], trained.get_variable_value("weights"))
    assert "no variable's name begins with 'absent'" in caplog.text


def test_another_shape_is_refused(trained, tmp_path):
    settings = WarmStartSettings(trained.model_dir, "head", var_name_to_prev_var_name={"head": "weights"})
    with pytest.raises(ValueError, match=r"weights has shape \(3,\), the model's head has \(2,\)"):
        first_values(tmp_path, settings, renamed_model_fn)


def test_settings_that_are_not_used_are_refused(trained, tmp_path):
    settings = WarmStartSettings(trained.model_dir, "head", var_name_to_prev_var_name={"renamed": "weights"})
    with pytest.raises(ValueError, match=r"not used: renamed; .* loaded are head"):
        first_values(tmp_path, settings, renamed_model_fn)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (7, "must be a string or a WarmStartSettings"),
        (WarmStartSettings("nowhere", 7), "must be a list or text"),
        (WarmStartSettings("nowhere", ["a", 7]), "must hold names or variables alone"),
        ("nowhere", "nowhere: damaged or missing"),
    ],
)
def test_what_is_no_source_is_refused(tmp_path, source, message):
    with pytest.raises(Exception, match=message):
        first_values(tmp_path, source)


def test_the_path_must_be_given():
    with pytest.raises(ValueError, match="`ckpt_to_initialize_from` MUST be set"):
        WarmStartSettings("")


def test_a_model_that_has_a_checkpoint_is_not_started_again(trained, tmp_path):
    first_values(tmp_path, trained.model_dir)
    estimator = programs.make_estimator(tmp_path / "model", warm_start_from="nowhere")
    estimator.train(programs.input_fn, steps=1)
    assert estimator.get_variable_value("global_step") == 2


def embedding_model_fn(num_rows):
    def model_fn(features, labels, mode, params):
        table = v1.get_variable("table", [num_rows, 2], initializer=v1.zeros_initializer())
        loss = tf.reduce_sum(table**2) + tf.reduce_mean(labels)
        return TPUEstimatorSpec(mode, loss=loss, train_op=v1.train.get_global_step().assign_add(1))

    return model_fn


def test_rows_follow_their_words_into_a_new_vocabulary(tmp_path):
    values = np.arange(6, dtype=np.float32).reshape(3, 2)
    old = programs.make_estimator(tmp_path / "old", embedding_model_fn(3))
    old.train(programs.input_fn, steps=1)
    old_table = tmp_path / "table.ckpt"
    tf.raw_ops.SaveV2(prefix=str(old_table), tensor_names=["table"], shape_and_slices=[""], tensors=[values])
    # A line of one word, whatever it holds; its end may be of another system.
    (tmp_path / "old.txt").write_bytes("mer\u2028cury\u0085\r\nvenus\nmars\n".encode())
    (tmp_path / "new.txt").write_bytes("venus\nju\x1cpiter\nmer\u2028cury\u0085".encode())
    info = VocabInfo(
        str(tmp_path / "new.txt"), -1, 1, str(tmp_path / "old.txt"), backup_initializer=v1.constant_initializer(9.0)
    )
    settings = WarmStartSettings(str(old_table), var_name_to_vocab_info={"table": info})
    found = first_values(tmp_path, settings, embedding_model_fn(4))
    np.testing.assert_array_equal(found["table"], [[2, 3], [9, 9], [0, 1], [9, 9]])
    with pytest.raises(WarmStartError, match="correct the VocabInfo"):
        first_values(tmp_path / "wrong", settings, embedding_model_fn(5))


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("venus\n\nmars\n", "mars\n", r"old\.txt:2: line is empty; give it one word a line"),
        ("venus\nmars\n", "mars\n\n", r"new\.txt:2: line is empty"),
        ("venus\nmars\nvenus\n", "mars\n", r"old\.txt: has the word 'venus' twice"),
    ],
)
def test_a_vocabulary_has_one_word_a_line_and_each_once(tmp_path, old, new, message):
    programs.make_estimator(tmp_path / "old", embedding_model_fn(3)).train(programs.input_fn, steps=1)
    paths = [tmp_path / "new.txt", tmp_path / "old.txt"]
    for path, text in zip(paths, (new, old), strict=True):
        path.write_text(text)
    info = VocabInfo(str(paths[0]), -1, 0, str(paths[1]))
    settings = WarmStartSettings(str(tmp_path / "old"), var_name_to_vocab_info={"table": info})
    with pytest.raises(WarmStartError, match=message):
        first_values(tmp_path, settings, embedding_model_fn(1))
