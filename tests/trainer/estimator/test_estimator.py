"""What holds for an `Estimator` as a whole: variables of the newest checkpoint, use by several threads."""

import copy
import threading

import numpy as np
import pytest
import tensorflow as tf

from trainer.estimator.checkpoints import DamagedCheckpointError

from . import programs


def test_variables_of_the_newest_checkpoint(tmp_path):
    estimator = programs.make_estimator(tmp_path)
    estimator.train(programs.input_fn, max_steps=2)
    assert estimator.get_variable_names() == ["global_step", "weights", "weights/Momentum"]
    np.testing.assert_array_equal(estimator.get_variable_value("weights:0"), estimator.get_variable_value("weights"))
    with pytest.raises(tf.errors.NotFoundError, match="Key other not found in checkpoint"):
        estimator.get_variable_value("other")


@pytest.mark.parametrize("suffix", [".index", ".data-00000-of-00001"])
def test_variables_of_a_damaged_checkpoint_are_refused_in_words(tmp_path, suffix):
    estimator = programs.make_estimator(tmp_path)
    estimator.train(programs.input_fn, max_steps=2)
    (tmp_path / f"model.ckpt-2{suffix}").write_bytes(b"")
    with pytest.raises(DamagedCheckpointError, match=r"model\.ckpt-2: damaged or missing"):
        estimator.get_variable_value("weights")
    if suffix == ".index":
        with pytest.raises(DamagedCheckpointError, match=r"model\.ckpt-2: damaged or missing"):
            estimator.get_variable_names()


def test_threads_may_train_evaluate_and_predict_at_the_same_time(tmp_path):
    estimator = programs.make_estimator(tmp_path)
    estimator.train(programs.input_fn, max_steps=2)
    path = estimator.latest_checkpoint()
    results = {}

    def evaluate(name):
        results[name] = [
            estimator.evaluate(programs.input_fn, checkpoint_path=path)["loss"],
            *(one["value"] for one in estimator.predict(programs.input_fn, checkpoint_path=path)),
        ]

    def train():
        results["trained"] = estimator.train(programs.input_fn, max_steps=60).get_variable_value("weights")

    evaluate("alone")
    jobs = [*(threading.Thread(target=evaluate, args=(name,)) for name in range(3)), threading.Thread(target=train)]
    for job in jobs:
        job.start()
    for job in jobs:
        job.join()
    for name in range(3):
        np.testing.assert_array_equal(results[name], results["alone"])
    alone = programs.make_estimator(tmp_path / "alone")
    for max_steps in (2, 60):
        alone.train(programs.input_fn, max_steps=max_steps)
    np.testing.assert_array_equal(results["trained"], alone.get_variable_value("weights"))


def test_an_estimator_may_be_copied_as_one_in_the_params_of_another_is(tmp_path):
    estimator = programs.make_estimator(tmp_path)
    copy.deepcopy(estimator).train(programs.input_fn, max_steps=2)
    assert estimator.evaluate(programs.input_fn)["global_step"] == 2
