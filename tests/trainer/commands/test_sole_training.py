import errno
import fcntl
import os

import pytest

from trainer.commands.sole_training import alone_in
from trainer.errors import UserError


def test_one_at_a_time(tmp_path):
    model_dir = str(tmp_path / "models" / "model")
    with alone_in(model_dir), pytest.raises(UserError, match="another training"), alone_in(model_dir):
        pass
    with alone_in(model_dir):
        (tmp_path / "models" / "model" / "checkpoint").touch()
    assert (tmp_path / "models" / "model").exists()


def test_an_empty_folder_is_not_left(tmp_path):
    with alone_in(str(tmp_path / "model")):
        pass
    assert not (tmp_path / "model").exists()


def test_what_ends_a_training_is_told_even_if_its_folder_is_gone(tmp_path):
    with pytest.raises(ConnectionError), alone_in(str(tmp_path / "model")):
        (tmp_path / "model").rmdir()
        raise ConnectionError


def test_the_other_processes_of_a_training_are_let_in(tmp_path, monkeypatch):
    model_dir = str(tmp_path / "model")
    with alone_in(model_dir):
        monkeypatch.setenv("JAX_PROCESS_ID", "1")
        with alone_in(model_dir):
            pass


def test_a_way_through_a_folder_that_is_not_there_leads_where_tensorflow_goes(tmp_path):
    with alone_in(str(tmp_path / "nowhere" / ".." / "model")):
        assert [path.name for path in tmp_path.iterdir()] == ["model"]
        with pytest.raises(UserError, match="another training"), alone_in(str(tmp_path / "model")):
            pass
    assert not list(tmp_path.iterdir())


def test_a_place_that_cannot_be_a_folder(tmp_path):
    (tmp_path / "file").touch()
    for place in (tmp_path / "file", tmp_path / "file" / "model"):
        with pytest.raises(UserError, match="cannot be used"), alone_in(str(place)):
            pass


def test_a_file_system_without_locks_is_no_obstacle(tmp_path, monkeypatch):
    def refuse(folder, operation):
        raise OSError(errno.EBADF, os.strerror(errno.EBADF))  # NFS, of a folder open for reading

    monkeypatch.setattr(fcntl, "flock", refuse)
    with alone_in(str(tmp_path / "model")):
        assert (tmp_path / "model").exists()
