from preprocessing import summary
from preprocessing.conversion import Conversion
from preprocessing.dataset_info import DatasetInfo, RowCounts, ShardInfo, SplitInfo
from preprocessing.pipeline import Results


def conversion(elapsed_secs: float) -> Conversion:
    shard = ShardInfo("train-00000-of-00001.tfrecord", 9, 900, "00000000")
    info = DatasetInfo(("cat", "dog"), {"train": SplitInfo((shard,), (4, 5))}, RowCounts(12, 9, 3))
    quarantined = {"truncated": 2, "not_found": 1}
    results = Results(12, (), quarantined, moved={"same_image_in_another_split": 1}, dropped={})
    return Conversion(info, results if elapsed_secs else None, elapsed_secs)


def test_text_says_where_every_row_went():
    lines = summary.describe(conversion(elapsed_secs=3.0), "out").splitlines()
    assert lines[0].split() == ["class", "train"]
    assert [line.split() for line in lines[1:4]] == [["cat", "4"], ["dog", "5"], ["all", "9"]]
    assert "quarantined: 2 truncated (listed in quarantine.jsonl)" in lines
    assert "moved: 1 same_image_in_another_split (listed in changes.jsonl)" in lines
    assert "12 rows = 9 written + 3 quarantined + 0 dropped" in lines
    assert "3.0 s, 3 images/s" in lines
    assert lines[-1] == "dataset: out"


def test_a_dataset_that_was_there_has_no_rate():
    assert "already there" in summary.describe(conversion(elapsed_secs=0.0), "out")
    assert summary.values(conversion(elapsed_secs=0.0), "out")["images_per_sec"] == 0


def test_classes_without_images_and_the_report_are_told():
    shard = ShardInfo("train-00000-of-00001.tfrecord", 4, 900, "00000000")
    splits = {"train": SplitInfo((shard,), (4, 0))}
    info = DatasetInfo(("cat", "dog"), splits, RowCounts(5, 4, 1), options={"curation": {"drop": []}})
    lines = summary.describe(Conversion(info, None, 0.0), "out").splitlines()
    assert "no image at all of dog" in lines
    assert lines[-1] == "report: out/report.html"


def test_many_classes_are_not_all_shown():
    names = tuple(f"class {index}" for index in range(100))
    shard = ShardInfo("train-00000-of-00001.tfrecord", 100, 900, "00000000")
    info = DatasetInfo(names, {"train": SplitInfo((shard,), (1,) * 100)}, RowCounts(100, 100, 0))
    text = summary.describe(Conversion(info, None, 0.0), "out")
    assert "... and 80 classes more" in text
