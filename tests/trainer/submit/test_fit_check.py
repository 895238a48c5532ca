import sys

import pytest

from trainer.submit import catalogue, fit_check, hardware
from trainer.submit.training_job import TrainingJob

TABLES = catalogue.load()


def job(machine: hardware.Hardware, **settings) -> TrainingJob:
    return TrainingJob("gs://b/d", "gs://b/m", "digits", settings).on(machine)


def test_only_tpus_are_compiled_for():
    machine = hardware.vertex_machine(TABLES, "g2-standard-8", region="us-central1")
    asked = fit_check.Questions(is_asked=True, num_classes=10, num_train_examples=0)
    assert fit_check.lines(job(machine), machine, asked) == ["preflight: skipped, it knows TPUs only"]


def test_it_says_when_it_was_not_asked():
    machine = hardware.vertex_tpu(TABLES, "v5e:1x1", region="us-west1")
    questions = fit_check.Questions(is_asked=False, num_classes=10, num_train_examples=0)
    (line,) = fit_check.lines(job(machine), machine, questions)
    assert line.startswith("preflight: skipped, ask with --dry_run")


@pytest.mark.slow
def test_the_real_compiler_answers_without_a_tpu(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    machine = hardware.vertex_tpu(TABLES, "v5e:1x1", region="us-west1")
    questions = fit_check.Questions(is_asked=True, num_classes=10, num_train_examples=1000)
    first, second = fit_check.lines(job(machine), machine, questions)
    assert first.startswith("preflight: compiles and fits: 0.")
    assert "GiB on each device, for its 32 examples of a step" in first
    assert "not predictable" in second  # an 8-pixel network is done before it is started


def test_where_the_compiler_is_not_installed_the_job_is_shown_without_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "libtpu", None)
    machine = hardware.vertex_tpu(TABLES, "v5e:1x1", region="us-west1")
    asked = fit_check.Questions(is_asked=True, num_classes=10, num_train_examples=0)
    (line,) = fit_check.lines(job(machine), machine, asked)
    assert line == "preflight: skipped without libtpu; pip install 'tpu-images[cpu,preflight]'"
