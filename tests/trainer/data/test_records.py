import pytest
import tensorflow as tf

from trainer.data import records
from trainer.errors import UserError


def test_load_yields_every_picture_with_its_label(make_dataset):
    path = make_dataset({"train": 5, "test": 3}, label_offset=1)
    examples = list(records.load(path, "test"))
    assert sorted(int(example["label"]) for example in examples) == [0, 1, 2]
    assert {example["image"].shape for example in examples} == {(12, 16, 3)}
    assert sorted(example["file_name"].numpy() for example in examples) == [b"5.img", b"6.img", b"7.img"]


def test_no_such_directory(tmp_path):
    with pytest.raises(UserError, match="nothing_here: no such directory"):
        records.open_dataset(tmp_path / "nothing_here")


def test_a_directory_without_dataset_json_is_not_a_dataset(tmp_path):
    with pytest.raises(UserError, match=r"not a dataset: it has no dataset\.json"):
        records.open_dataset(tmp_path)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff\xfe", b"{}"])
def test_a_damaged_dataset_json_is_named(tmp_path, content):
    (tmp_path / "dataset.json").write_bytes(content)
    with pytest.raises(UserError, match=r"dataset\.json: damaged"):
        records.open_dataset(tmp_path)


def test_labels_outside_the_classes_stop_the_reading(make_dataset):
    """As when `dataset.json` was edited by hand: the shards hold labels 0 to 2, the classes are two."""
    path = make_dataset({"train": 6}, num_classes=3)
    dataset = records.open_dataset(path)
    parser = records.RecordParser(label_offset=0, num_classes=2)
    shard = dataset.info.splits["train"].shards[0]
    raw = records.shard_records(tf.constant([dataset.shard_path(shard)]), tf.constant([shard.num_examples], tf.int64))
    with pytest.raises(tf.errors.InvalidArgumentError, match="is none of"):
        list(raw.map(parser))
