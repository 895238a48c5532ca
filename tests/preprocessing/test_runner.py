import pathlib
import weakref

import apache_beam as beam
import pytest

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
