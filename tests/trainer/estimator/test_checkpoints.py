import os
import shutil

import numpy as np
import pytest
import tensorflow as tf

from trainer.errors import UserError
from trainer.estimator import checkpoints
from trainer.estimator.checkpoints import CheckpointDirectory, DamagedCheckpointError, RetentionPolicy

STEPS = (1, 5, 9)
DATA, INDEX = "data-00000-of-00001", "index"


def values(step):
    return {"a/b": tf.fill([1000], float(step)), "global_step": tf.constant(step, tf.int64)}


@pytest.fixture(name="directory")
def fixture_directory(tmp_path):
    directory = CheckpointDirectory(str(tmp_path / "model"))
    for step in STEPS:
        directory.save(values(step), step)
    return directory


def read_step(directory):
    path, read = directory.read_newest()
    assert set(read) == {"a/b", "global_step"}
    assert read["a/b"][0] == read["global_step"] == checkpoints.step_of(path)
    return int(read["global_step"])


def test_tensorflow_reads_what_is_written(directory, tmp_path):
    path = tf.train.latest_checkpoint(str(tmp_path / "model"))
    assert path == directory.latest() == str(tmp_path / "model" / "model.ckpt-9")
    assert dict(tf.train.list_variables(path)) == {"a/b": [1000], "global_step": []}
    assert tf.train.load_variable(path, "global_step") == 9
    assert tf.train.get_checkpoint_state(str(tmp_path / "model")).all_model_checkpoint_paths[0].endswith("-1")


def test_the_newest_few_are_kept(tmp_path):
    directory = CheckpointDirectory(str(tmp_path), RetentionPolicy(max_to_keep=2))
    for step in range(5):
        directory.save(values(step), step)
    files = (f"model.ckpt-{step}.{suffix}" for step in (3, 4) for suffix in (DATA, INDEX))
    assert sorted(os.listdir(tmp_path)) == ["checkpoint", *files]


def test_one_per_so_many_hours_is_kept_for_good(tmp_path):
    directory = CheckpointDirectory(str(tmp_path), RetentionPolicy(max_to_keep=1, keep_every_n_hours=1e-9))
    for step in range(4):
        directory.save(values(step), step)
    assert len(tf.io.gfile.glob(f"{tmp_path}/*.index")) == 4


def test_an_empty_directory_has_no_checkpoint(tmp_path):
    directory = CheckpointDirectory(str(tmp_path / "none"))
    assert directory.latest() is None
    assert directory.read_newest() is None


def flip_a_bit(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 3] ^= 0x10
    path.write_bytes(content)


def truncate(path):
    path.write_bytes(path.read_bytes()[:-7])


def empty(path):
    path.write_bytes(b"")


@pytest.mark.parametrize(
    ("suffix", "damage"),
    [
        (DATA, truncate),
        (DATA, flip_a_bit),
        (DATA, empty),
        (DATA, os.remove),
        (INDEX, truncate),
        (INDEX, flip_a_bit),
        (INDEX, empty),
        (INDEX, os.remove),
    ],
)
def test_a_damaged_newest_checkpoint_gives_way_to_the_one_before(directory, tmp_path, suffix, damage):
    damage(tmp_path / "model" / f"model.ckpt-9.{suffix}")
    assert read_step(directory) == 5
    with pytest.raises(DamagedCheckpointError, match=r"model\.ckpt-9: damaged or missing"):
        checkpoints.read(directory.path(9))


GARBAGE = [b"", b"garbage {", b"\xff\xfe\x00", b'model_checkpoint_path: "', b'model_checkpoint_path: "model.ckpt-abc"']


@pytest.mark.parametrize("content", GARBAGE)
def test_a_garbage_state_file_does_not_hide_the_checkpoints(directory, tmp_path, content):
    (tmp_path / "model" / "checkpoint").write_bytes(content)
    assert read_step(directory) == 9
    directory.save(values(12), 12)
    assert read_step(directory) == 12


def test_a_checkpoint_of_another_name_is_read_and_never_removed(directory, tmp_path):
    folder = tmp_path / "pretrained"
    folder.mkdir()
    for suffix in ("index", DATA):
        shutil.copy(tmp_path / "model" / f"model.ckpt-9.{suffix}", folder / f"bert_model.ckpt.{suffix}")
    (folder / "checkpoint").write_text('model_checkpoint_path: "bert_model.ckpt"\n')
    pretrained = CheckpointDirectory(str(folder), RetentionPolicy(max_to_keep=1))
    path, read = pretrained.read_newest()
    assert (path, int(read["global_step"])) == (str(folder / "bert_model.ckpt"), 9)
    for step in (10, 11):
        pretrained.save(values(step), step)
    assert sorted(path.stem for path in folder.glob("*.index")) == ["bert_model.ckpt", "model.ckpt-11"]


def test_a_missing_state_file_does_not_hide_the_checkpoints(directory, tmp_path):
    (tmp_path / "model" / "checkpoint").unlink()
    assert read_step(directory) == 9


def test_training_never_starts_over_when_nothing_can_be_read(directory, tmp_path):
    for step in STEPS:
        truncate(tmp_path / "model" / f"model.ckpt-{step}.{DATA}")
    with pytest.raises(UserError, match=r"no checkpoint can be read.*restore one from a backup"):
        directory.read_newest()


def test_a_state_file_that_names_an_older_checkpoint_is_obeyed(directory, tmp_path):
    (tmp_path / "model" / "checkpoint").write_text('model_checkpoint_path: "model.ckpt-5"\n')
    assert read_step(directory) == 5


def test_what_came_after_a_checkpoint_that_training_went_back_to_is_forgotten(directory, tmp_path):
    truncate(tmp_path / "model" / f"model.ckpt-9.{DATA}")
    directory.save(values(7), 7)
    assert [checkpoints.step_of(path) for path in directory.candidates()][:3] == [7, 5, 1]
    directory.save(values(9), 9)
    assert read_step(directory) == 9


def test_an_interrupted_save_leaves_no_checkpoint(directory, tmp_path):
    for suffix in (DATA, INDEX):
        (tmp_path / "model" / f"model.ckpt-20.tmp.{suffix}").write_bytes(b"half")
    assert read_step(directory) == 9


def test_the_global_step_is_read_from_the_checkpoint(directory):
    assert checkpoints.global_step(directory.path(5)) == 5
    np.testing.assert_array_equal(checkpoints.read(directory.path(5), ["a/b", "other"])["a/b"], np.full(1000, 5))
