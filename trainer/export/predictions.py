"""Answers about image files: as a table for people, as CSV or JSONL for programs."""

import csv
import dataclasses
import io
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

import numpy as np
import tensorflow as tf

from trainer.errors import UserError, one_line

CSV_SUFFIX, JSONL_SUFFIX = ".csv", ".jsonl"
# A cell that begins so is run as a formula by spreadsheet programs.
_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")

ClassifyFn = Callable[[Sequence[bytes]], Mapping[str, np.ndarray]]


@dataclasses.dataclass(frozen=True)
class Prediction:
    """What the model says of one file: classes with their probabilities, likeliest first; or why it says nothing."""

    path: str
    ranked: tuple[tuple[str, float], ...] = ()
    error: str = ""


def predict_files(
    paths: Iterable[str], classify: ClassifyFn, class_names: Sequence[str], batch_size: int, num_ranked: int
) -> Iterator[Prediction]:
    """Yields a prediction for each file, in order; a file that cannot be read or decoded gets an error of its own.

    Args:
      paths: image files, local or `gs://`.
      classify: see `serving.ExportedClassifier`.
      class_names: in the order of the model's outputs.
      batch_size: files per call of the model.
      num_ranked: classes to keep for each file.
    """
    batch: list[str] = []
    for path in paths:
        batch.append(path)
        if len(batch) == batch_size:
            yield from _predict_batch(batch, classify, class_names, num_ranked)
            batch = []
    yield from _predict_batch(batch, classify, class_names, num_ranked)


def _predict_batch(
    paths: Sequence[str], classify: ClassifyFn, class_names: Sequence[str], num_ranked: int
) -> list[Prediction]:
    contents = {path: _read(path) for path in paths}
    readable = {path: content for path, content in contents.items() if isinstance(content, bytes)}
    answers = _classify(readable, classify)
    return [
        Prediction(path, error=str(contents[path]))
        if path not in readable
        else _prediction(path, answers[path], class_names, num_ranked)
        for path in paths
    ]


def _read(path: str) -> bytes | str:
    """Returns a file's bytes, or why they cannot be had."""
    try:
        with tf.io.gfile.GFile(path, "rb") as file:
            return file.read()
    except tf.errors.NotFoundError:
        return "no such file"
    except tf.errors.OpError as error:
        return one_line(error.message)


def _classify(contents: Mapping[str, bytes], classify: ClassifyFn) -> dict[str, np.ndarray | str]:
    """Classifies a batch at once; one by one when a file in it cannot be decoded, to find out which."""
    if not contents:
        return {}
    try:
        probabilities = classify(list(contents.values()))["probabilities"]
        return dict(zip(contents, probabilities, strict=True))
    except tf.errors.InvalidArgumentError:
        if len(contents) == 1:
            return dict.fromkeys(contents, "not an image that can be decoded")
    answers: dict[str, np.ndarray | str] = {}
    for path, content in contents.items():
        answers |= _classify({path: content}, classify)
    return answers


def _prediction(path: str, answer: np.ndarray | str, class_names: Sequence[str], num_ranked: int) -> Prediction:
    if isinstance(answer, str):
        return Prediction(path, error=answer)
    order = np.argsort(-answer, kind="stable")[:num_ranked]
    return Prediction(path, ranked=tuple((class_names[index], float(answer[index])) for index in order))


def check_output_path(path: str) -> None:
    """Raises UserError unless predictions can be written there by its suffix."""
    if not path.endswith((CSV_SUFFIX, JSONL_SUFFIX)):
        raise UserError("unknown kind of file", where=path, remedy=f"end its name in {CSV_SUFFIX} or {JSONL_SUFFIX}")


def to_text(predictions: Sequence[Prediction], path: str) -> str:
    """Returns the content of the file `path`: CSV or JSONL by its suffix."""
    return _to_csv(predictions) if path.endswith(CSV_SUFFIX) else _to_jsonl(predictions)


def _to_csv(predictions: Sequence[Prediction]) -> str:
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(("path", "class", "probability", "runner_up", "runner_up_probability", "error"))
    for prediction in predictions:
        ranked: list[tuple[str, float | str]] = [*prediction.ranked, ("", ""), ("", "")]
        writer.writerow([_cell(value) for value in (prediction.path, *ranked[0], *ranked[1], prediction.error)])
    return file.getvalue()


def _cell(value: str | float) -> str | float:
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA_STARTS) else value


def _to_jsonl(predictions: Sequence[Prediction]) -> str:
    return "".join(json.dumps(_fields(prediction), ensure_ascii=False) + "\n" for prediction in predictions)


def _fields(prediction: Prediction) -> dict[str, object]:
    if prediction.error:
        return {"path": prediction.path, "error": prediction.error}
    return {
        "path": prediction.path,
        "class": prediction.ranked[0][0],
        "probability": prediction.ranked[0][1],
        "ranked": [{"class": name, "probability": probability} for name, probability in prediction.ranked],
    }
