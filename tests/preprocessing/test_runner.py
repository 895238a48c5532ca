import pathlib
import threading
import weakref

import apache_beam as beam
import pytest
from apache_beam.runners.worker import statesampler

from preprocessing import runner
from preprocessing.errors import UserError


class Referent:
    pass


def test_what_a_step_raises_is_told_whatever_else_is_in_memory(tmp_path):
    def fail(_):
        raise UserError("is no image")

    dead = weakref.proxy(Referent())
    options = runner.RunnerOptions()
    workplace = runner.Workplace("photos", "dataset", tmp_path)
    pipeline = runner.create_pipeline(options, workplace)
    pipeline | beam.Create([1]) | beam.Map(fail)
    with pytest.raises(UserError, match=r"^is no image$"):
        runner.run_to_end(pipeline, options, workplace)
    del dead


def test_the_folder_of_a_job_that_ctrl_c_keeps_from_running_is_removed_with_all_others(tmp_path):
    pipeline = runner.create_pipeline(runner.RunnerOptions(), runner.Workplace("photos", "dataset", tmp_path))
    assert pathlib.Path(pipeline.local_tempdir).parent == tmp_path


def test_ctrl_c_amid_the_start_of_a_thread_of_beams_leaves_none_that_keeps_the_process(tmp_path, monkeypatch):
    def interrupted_start(sampler):
        super(statesampler.StateSampler, sampler).start()
        raise KeyboardInterrupt

    monkeypatch.setattr(statesampler.StateSampler, "start", interrupted_start)
    before = set(threading.enumerate())
    options = runner.RunnerOptions()
    workplace = runner.Workplace("photos", "dataset", tmp_path)
    pipeline = runner.create_pipeline(options, workplace)
    pipeline | beam.Create([1])
    with pytest.raises(KeyboardInterrupt):
        runner.run_to_end(pipeline, options, workplace)
    for thread in set(threading.enumerate()) - before:
        if not thread.daemon:
            thread.join(timeout=30)
            assert not thread.is_alive()


@pytest.mark.parametrize(
    ("options", "is_one"),
    [
        (runner.RunnerOptions(), True),
        (runner.RunnerOptions(num_workers=2), False),
        (runner.RunnerOptions(flags=("--direct_running_mode=multi_processing",)), False),
        (runner.RunnerOptions(num_workers=2, flags=("--direct_running_mode=in_memory",)), True),
    ],
)
def test_processes_of_beams_have_none_beside_them_which_they_would_leave_when_killed(tmp_path, options, is_one):
    pipeline = runner.create_pipeline(options, runner.Workplace("photos", "dataset", tmp_path))
    assert runner.is_one_process(pipeline) == is_one
