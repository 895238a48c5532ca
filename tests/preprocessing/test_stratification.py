from preprocessing import stratification
from preprocessing.dataset_info import DatasetInfo, RowCounts, ShardInfo, SplitInfo


def info(**class_counts: tuple[int, ...]) -> DatasetInfo:
    splits = {
        name: SplitInfo((ShardInfo(f"{name}.tfrecord", sum(counts), 1, "00000000"),), counts)
        for name, counts in class_counts.items()
    }
    written = sum(map(sum, class_counts.values()))
    return DatasetInfo(("cat", "dog", "owl", "never"), splits, RowCounts(written, written, 0))


def test_shares_of_each_split_and_class():
    train, test = stratification.split_shares(info(test=(1, 4, 0, 0), train=(9, 6, 5, 0)))
    assert train == ("train", 0.8, (0.6, "dog"), (1.0, "owl"), ())
    assert test == ("test", 0.2, (0.0, "owl"), (0.4, "dog"), ("owl",))
    assert str(train) == "train: 80.0% of all, 60.0% (dog) to 100.0% (owl) of a class"
    assert str(test) == "test: 20.0% of all, 0.0% (owl) to 40.0% (dog) of a class; no image of owl"


def test_one_split_has_nothing_to_compare():
    assert stratification.split_shares(info(train=(1, 1, 1, 0))) == []
