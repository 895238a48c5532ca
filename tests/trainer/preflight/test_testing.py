import pytest

from trainer.preflight.testing import assert_compiles_for_tpu


@pytest.mark.slow
def test_a_good_step_passes_and_gives_its_figures(training_step, monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    compiled = assert_compiles_for_tpu(
        training_step.model_fn,
        training_step.features,
        training_step.labels,
        params=training_step.params,
        tpu_type="v6e:2x2",
    )
    assert compiled.hbm_peak_bytes < 2**30
    assert list(tmp_path.glob("tpu-images/preflight/*.json"))


def test_an_offending_step_fails_with_its_line(training_step):
    with pytest.raises(AssertionError, match=r"does not compile for v5e:1x1: .*conftest.py:\d+ .*AsString"):
        assert_compiles_for_tpu(
            training_step.model_fn,
            training_step.features,
            training_step.labels,
            params={"width": 256, "offender": True},
        )
