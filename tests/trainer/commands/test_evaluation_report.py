import json

import numpy as np

from trainer.commands import evaluation_report, terminal

METRICS = {
    "top_1_accuracy": np.float64(0.75),
    "top_2_accuracy": np.float64(1.0),
    "per_class_precision": np.array([1.0, 0.5, np.nan]),
    "per_class_recall": np.array([0.5, 1.0, np.nan]),
    "confusion_matrix": np.array([[1, 1, 0], [0, 2, 0], [0, 0, 0]]),
}
CLASSES = ("cat", "dog", "newt")


def test_classes_and_confusions_are_shown():
    shown = evaluation_report.text(METRICS, CLASSES)
    assert "\ncat       100.0%   50.0%\n" in shown
    assert "\nnewt           -       -\n" in shown
    assert shown.endswith("\ncat  dog            1")


def test_json_has_null_for_a_class_without_examples():
    values = json.loads(evaluation_report.to_json(METRICS, CLASSES))
    assert values["per_class_recall"] == [0.5, 1.0, None]
    assert values["confusion_matrix"][1] == [0, 2, 0]
    assert values["top_1_accuracy"] == 0.75


def test_many_classes_show_the_worst():
    recall = np.linspace(0, 1, 100)
    metrics = {"per_class_precision": recall, "per_class_recall": recall}
    shown = evaluation_report.per_class_table(metrics, [f"class {index}" for index in range(100)])
    assert "class 0 " in shown
    assert "class 99" not in shown
    assert "40 of 100 classes" in shown


def test_columns_of_numbers_align_right():
    assert (
        terminal.table(("name", "count"), [("a", 5), ("b", 1200)])
        == "name  count\n----  -----\na         5\nb     1,200"
    )


def test_durations_read_as_people_say_them():
    assert [terminal.format_duration(secs) for secs in (7, 200, 7500)] == ["7 s", "3 min 20 s", "2 h 05 min"]
