import csv
import io
import json

import numpy as np
import pytest
import tensorflow as tf

from trainer.errors import UserError
from trainer.export import predictions
from trainer.export.predictions import Prediction


def classify(encoded_images):
    """Knows files by their content; fails as a model does when it meets one that is no image."""
    if b"broken" in encoded_images:
        raise tf.errors.InvalidArgumentError(None, None, "cannot decode")
    return {
        "probabilities": np.array([[0.25, 0.75] if content == b"dog" else [0.9, 0.1] for content in encoded_images])
    }


def predicted(tmp_path, contents: dict[str, bytes], batch_size: int = 2) -> list[Prediction]:
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    paths = [str(tmp_path / name) for name in contents]
    return list(predictions.predict_files(paths, classify, ("cat", "dog"), batch_size, num_ranked=2))


def test_classes_come_likeliest_first(tmp_path):
    assert predicted(tmp_path, {"a": b"dog"})[0].ranked == (("dog", 0.75), ("cat", 0.25))


@pytest.mark.parametrize("batch_size", [1, 2, 5])
def test_a_file_that_is_no_image_does_not_take_others_with_it(tmp_path, batch_size):
    found = predicted(tmp_path, {"a": b"dog", "b": b"broken", "c": b"cat"}, batch_size)
    assert [prediction.error for prediction in found] == ["", "not an image that can be decoded", ""]
    assert [prediction.ranked[0][0] for prediction in found if prediction.ranked] == ["dog", "cat"]


def test_a_missing_file_is_an_error_of_its_own(tmp_path):
    found = list(predictions.predict_files([str(tmp_path / "none")], classify, ("cat", "dog"), 2, 1))
    assert found[0].error == "no such file"


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r"])
def test_csv_cells_are_not_formulas(start):
    text = predictions.to_text([Prediction(f'{start}1+1,"x"\n', (("cat", 0.5),))], "out.csv")
    row = next(csv.DictReader(io.StringIO(text, newline="")))
    assert row["path"] == f'\'{start}1+1,"x"\n'


def test_csv_holds_the_class_and_the_runner_up():
    text = predictions.to_text(
        [
            Prediction("a", (("cat", 0.9), ("dog", 0.1))),
            Prediction("only", (("cat", 1.0),)),
            Prediction("b", error="gone"),
        ],
        "x.csv",
    )
    assert text.splitlines() == [
        "path,class,probability,runner_up,runner_up_probability,error",
        "a,cat,0.9,dog,0.1,",
        "only,cat,1.0,,,",
        "b,,,,,gone",
    ]


def test_jsonl_holds_every_rank():
    text = predictions.to_text(
        [Prediction("a", (("cat", 0.9), ("dog", 0.1))), Prediction("b", error="gone")], "x.jsonl"
    )
    first, second = map(json.loads, text.splitlines())
    assert [rank["class"] for rank in first["ranked"]] == ["cat", "dog"]
    assert second == {"path": "b", "error": "gone"}


def test_another_kind_of_file_is_refused():
    with pytest.raises(UserError, match=r"out.txt: unknown kind of file; end its name in .csv or .jsonl"):
        predictions.check_output_path("out.txt")
