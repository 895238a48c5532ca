import dataclasses

import pytest

from trainer import model_directory
from trainer.config import ExperimentConfig
from trainer.errors import UserError
from trainer.model_directory import ModelRecord

RECORD = ModelRecord(ExperimentConfig(), ("cat", "dog"), "/data", "0123456789abcdef", num_train_examples=100)


def test_a_new_directory_is_claimed_and_read_back(tmp_path):
    model_dir = str(tmp_path / "model")
    model_directory.claim(model_dir, RECORD)
    assert model_directory.read(model_dir) == RECORD


def test_a_model_goes_on_with_more_epochs(tmp_path):
    longer = dataclasses.replace(RECORD, config=RECORD.config.replace(train_epochs=200.0))
    model_directory.claim(str(tmp_path), RECORD)
    model_directory.claim(str(tmp_path), longer)
    assert model_directory.read(str(tmp_path)) == longer


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        (dataclasses.replace(RECORD, config=RECORD.config.replace(seed=1)), r"was trained with seed=0 \(now 1\)"),
        (dataclasses.replace(RECORD, dataset_fingerprint="f" * 16), "was trained on other data"),
    ],
)
def test_another_model_is_refused_and_nothing_changes(tmp_path, wanted, message):
    model_directory.claim(str(tmp_path), RECORD)
    (tmp_path / "model.ckpt-5.index").touch()
    with pytest.raises(UserError, match=message):
        model_directory.claim(str(tmp_path), wanted)
    assert model_directory.read(str(tmp_path)) == RECORD
    assert sorted(path.name for path in tmp_path.iterdir()) == ["config.json", "model.ckpt-5.index"]


def test_settings_that_nothing_was_trained_with_give_way(tmp_path):
    """A run that fails at its start, for want of a TPU for instance, does not spoil the directory."""
    model_directory.claim(str(tmp_path), RECORD)
    wanted = dataclasses.replace(RECORD, config=RECORD.config.replace(seed=1))
    model_directory.claim(str(tmp_path), wanted)
    assert model_directory.read(str(tmp_path)) == wanted


def test_a_dataset_is_no_place_for_a_model(tmp_path):
    (tmp_path / "dataset.json").write_text("{}")
    with pytest.raises(UserError, match="is a dataset; give another --model_dir"):
        model_directory.claim(str(tmp_path), RECORD)
    assert [path.name for path in tmp_path.iterdir()] == ["dataset.json"]


@pytest.mark.parametrize("name", ["model[1]", "models\\1"])
def test_a_name_that_tensorflow_takes_for_a_pattern_is_refused(tmp_path, name):
    """TensorFlow writes checkpoints there, and does not find them again."""
    with pytest.raises(UserError, match="in its name, which TensorFlow takes for a pattern; rename it"):
        model_directory.claim(str(tmp_path / name), RECORD)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["file", "file/model", "s3://bucket/model", "/proc/model"])
def test_a_place_that_cannot_hold_a_model_is_named(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("somebody's")
    with pytest.raises(UserError, match=f"^{name}: cannot be used"):
        model_directory.claim(name, RECORD)
    assert (tmp_path / "file").read_text() == "somebody's"


def test_somebody_elses_checkpoints_are_refused(tmp_path):
    (tmp_path / "checkpoint").write_text("")
    with pytest.raises(UserError, match=r"has checkpoints but no config\.json; give another --model_dir"):
        model_directory.claim(str(tmp_path), RECORD)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{}",
        b"[1]",
        b'{"\xe4": 1}',
        b'{"format_version": 99, "config": {}, "class_names": []}',
        b'{"format_version": 1, "config": {}, "class_names": []}',
    ],
)
def test_a_damaged_record_is_named(tmp_path, content):
    (tmp_path / "config.json").write_bytes(content)
    with pytest.raises(UserError, match=r"config\.json"):
        model_directory.read(str(tmp_path))
