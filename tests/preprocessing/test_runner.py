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
    pipeline = runner.create_pipeline(options, runner.Workplace("photos", "dataset", tmp_path))
    pipeline | beam.Create([1]) | beam.Map(fail)
    with pytest.raises(UserError, match=r"^is no image$"):
        runner.run_to_end(pipeline, options)
    del dead
