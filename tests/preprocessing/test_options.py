import json

import pytest

from preprocessing.errors import UserError
from preprocessing.options import ConvertOptions, ImageOptions


@pytest.mark.parametrize(
    ("section", "values", "message"),
    [
        (ImageOptions, {"formats": ("JPEG", "TIF")}, "unknown format 'TIF'; did you mean TIFF?"),
        (ImageOptions, {"formats": ("HEIC",)}, "JPEG, PNG, GIF"),
        (ConvertOptions, {"input": "a", "output": "b", "labels_file": ""}, "--labels: is empty"),
        (ImageOptions, {"max_pixels": 0}, "--max_megapixels"),
        (ImageOptions, {"max_bytes": -1}, "--max_megabytes"),
        (ImageOptions, {"verify": "never"}, "--verify"),
        (ImageOptions, {"resize_short_side": -1}, "--resize_short_side"),
        (ImageOptions, {"quality": 101}, "--quality"),
        (ConvertOptions, {"input": "", "output": "b"}, "INPUT"),
        (ConvertOptions, {"input": "a", "output": ""}, "OUTPUT"),
        (ConvertOptions, {"input": "a", "output": "b", "max_bad_fraction": 1.5}, "--max_bad_fraction"),
        (ConvertOptions, {"input": "a", "output": "b", "num_shards": 100_000}, "--num_shards"),
        (ConvertOptions, {"input": "a", "output": "b", "label_offset": -1}, "--label_offset"),
    ],
)
def test_values_that_make_no_sense_are_refused(section, values, message):
    with pytest.raises(UserError, match=message.replace("?", r"\?")):
        section(**values)


def test_the_record_is_json_and_comes_back_the_same():
    record = ConvertOptions("in", "out", allowed_prefixes=("/a",)).to_record()
    assert json.loads(json.dumps(record)) == record


def test_the_record_leaves_out_what_does_not_decide_about_the_content():
    assert ConvertOptions("in", "out").to_record() == ConvertOptions("in", "elsewhere").to_record()
    assert ConvertOptions("in", "out").to_record() != ConvertOptions("in", "out", seed=1).to_record()
