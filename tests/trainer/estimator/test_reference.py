"""Programs held to the numbers that TensorFlow 2.15's own Estimators gave; `benchmarks/reference_estimator.py` records
these, and compares more.
"""

import json
import pathlib
import shutil

import numpy as np
import pytest
from tf_keras.api._v1 import keras as legacy_keras

from benchmarks import reference_estimator
from tests.durations import slow_but
from trainer import estimator
from trainer.estimator import run_config

from . import reference_cases
from .reference_cases import CASES

GOLDENS = pathlib.Path(__file__).parent / "goldens"
KIT = reference_cases.Toolkit(
    estimator.Estimator,
    estimator.TPUEstimator,
    estimator.EstimatorSpec,
    estimator.TPUEstimatorSpec,
    run_config.RunConfig,
    estimator.RunConfig,
    layers=legacy_keras.__internal__.legacy.layers,
    rnn_cell=legacy_keras.__internal__.legacy.rnn_cell,
)
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")


def golden(name):
    return json.loads((GOLDENS / f"{name}.json").read_text())


@pytest.mark.parametrize("name", slow_but(CASES, "plain_dnn", "host_call"))
def test_a_program_gives_the_references_numbers(tmp_path, name):
    expected = golden(name)
    found = reference_cases.outcome(CASES[name], KIT, str(tmp_path / "model"))
    np.testing.assert_allclose(found["losses"], expected["losses"], rtol=1e-5)
    assert found["metrics"] == pytest.approx(expected["metrics"], rel=1e-6, abs=1e-6)
    np.testing.assert_allclose(found["logits"], expected["logits"], rtol=1e-4, atol=1e-4)
    for same in ("variables", "classes"):
        assert found[same] == expected[same]
    assert found["events"].keys() == expected["events"].keys()
    for tag, values in expected["events"].items():
        assert found["events"][tag] == pytest.approx(values, rel=1e-5)


@pytest.mark.parametrize("field", ["losses", "metrics", "logits", "events"])
def test_the_comparison_sees_a_number_that_is_not_finite(field):
    expected = golden("host_call")
    same = reference_estimator._row("host_call", expected, expected)
    assert same.is_equal
    found = json.loads(json.dumps(expected))
    last = found[field]
    while not isinstance(last, float):
        inner, key = last, list(last)[-1] if isinstance(last, dict) else -1
        last = inner[key]
    inner[key] = float("nan")
    differing = reference_estimator._row("host_call", expected, found)
    assert float("inf") in (differing.loss, differing.metric, differing.logit)


def test_a_checkpoint_of_the_reference_is_continued(tmp_path):
    shutil.copytree(GOLDENS / "checkpoint", tmp_path / "model")
    _, losses = reference_cases.train(CASES["cnn"], KIT, str(tmp_path / "model"), num_steps=20)
    np.testing.assert_allclose(losses, golden("moving")["continued"], rtol=1e-5)


def test_a_checkpoint_of_the_reference_is_a_warm_start(tmp_path):
    path = str(GOLDENS / "checkpoint" / "model.ckpt-20")
    _, losses = reference_cases.train(CASES["cnn"], KIT, str(tmp_path / "model"), num_steps=20, warm_start_from=path)
    np.testing.assert_allclose(losses, golden("moving")["warm_started"], rtol=1e-5)
