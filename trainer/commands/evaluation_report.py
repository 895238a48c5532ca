"""How an evaluation is shown: accuracies, a table of classes, and the pairs that are confused most often."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from trainer.commands import terminal

_MAX_CLASSES_SHOWN = 40
_MAX_PAIRS_SHOWN = 10


def text(metrics: Mapping[str, Any], class_names: Sequence[str]) -> str:
    """Returns the report for people; `metrics` is what `Estimator.evaluate` returned."""
    parts = [per_class_table(metrics, class_names)]
    if "confusion_matrix" in metrics:
        parts.append(confused_pairs(np.asarray(metrics["confusion_matrix"]), class_names))
    return "\n\n".join(part for part in parts if part)


def per_class_table(metrics: Mapping[str, Any], class_names: Sequence[str]) -> str:
    """Returns precision and recall of each class, those with the lowest recall first when not all can be shown."""
    precision, recall = np.asarray(metrics["per_class_precision"]), np.asarray(metrics["per_class_recall"])
    shown = range(len(class_names))
    note = ""
    if len(class_names) > _MAX_CLASSES_SHOWN:
        shown = np.argsort(np.nan_to_num(recall, nan=np.inf), kind="stable")[:_MAX_CLASSES_SHOWN].tolist()
        note = f"\n(the {_MAX_CLASSES_SHOWN} of {len(class_names)} classes with the lowest recall)"
    rows = [(class_names[index], _share(precision[index]), _share(recall[index])) for index in shown]
    return terminal.table(("class", "precision", "recall"), rows) + note


def confused_pairs(matrix: np.ndarray, class_names: Sequence[str]) -> str:
    """Returns the most frequent mistakes; `matrix` counts `[label, prediction]`; empty when there are none."""
    mistakes = matrix - np.diag(np.diag(matrix))
    order = np.argsort(-mistakes, axis=None, kind="stable")[:_MAX_PAIRS_SHOWN]
    pairs = [np.unravel_index(flat, mistakes.shape) for flat in order]
    rows = [
        (class_names[label], class_names[prediction], int(mistakes[label, prediction]))
        for label, prediction in pairs
        if mistakes[label, prediction] > 0
    ]
    return terminal.table(("is", "taken for", "times"), rows) if rows else ""


def top_k_names(metrics: Mapping[str, Any]) -> list[str]:
    """Returns the names of the top-k accuracies beside the accuracy itself."""
    return [name for name in sorted(metrics) if name.startswith("top_") and name != "top_1_accuracy"]


def to_json(metrics: Mapping[str, Any], class_names: Sequence[str]) -> str:
    """Returns everything that was measured as JSON; a class without examples has null for its recall."""
    values = {name: _plain(value) for name, value in metrics.items()}
    return json.dumps({"class_names": list(class_names), **values}, indent=2) + "\n"


def _plain(value: Any) -> Any:
    array = np.asarray(value)
    if array.ndim:
        return [_plain(part) for part in array]
    number = array.item()
    return None if isinstance(number, float) and not np.isfinite(number) else number


def _share(value: float) -> str:
    return "-" if np.isnan(value) else f"{value:.1%}"
