"""The dataset directory appears complete or not at all: work goes on in a folder beside it, renamed at the end."""

import contextlib
import fcntl
import glob
import os
import pathlib
import shutil
import tempfile
from collections.abc import Iterator

from preprocessing import schema
from preprocessing.dataset_info import DatasetInfo
from preprocessing.errors import UserError

_STAGING_MARK = ".converting-"
_REPLACED_MARK = ".replaced-"
_LOCK_FILE = ".lock"


def existing_dataset(output: str) -> DatasetInfo | None:
    """Returns what the dataset at `output` holds, None when nothing is there.

    Raises:
      UserError: when something is there that is not a complete dataset: it is not ours to overwrite.
    """
    folder = pathlib.Path(output)
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return None
    info_file = folder / schema.DATASET_INFO_FILE
    if not info_file.is_file():
        raise UserError("exists and is not a dataset", where=output, remedy="choose another OUTPUT or remove it")
    return DatasetInfo.from_json(info_file.read_text(), where=str(info_file))


def is_complete(output: str, info: DatasetInfo) -> bool:
    """Returns whether every shard is there with its size."""
    shards = (shard for split in info.splits.values() for shard in split.shards)
    paths = ((pathlib.Path(output, shard.name), shard.num_bytes) for shard in shards)
    return all(path.is_file() and path.stat().st_size == num_bytes for path, num_bytes in paths)


@contextlib.contextmanager
def staging(output: str) -> Iterator[pathlib.Path]:
    """Gives an empty folder beside `output` to work in, and removes it afterwards unless `publish` has renamed it.

    Also removes what killed conversions to the same output have left behind.

    Raises:
      UserError: when another conversion to the same output is running, or the place cannot be written.
    """
    target = pathlib.Path(os.path.abspath(output))
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        _remove_leftovers(target)
        folder = pathlib.Path(tempfile.mkdtemp(prefix=f".{target.name}{_STAGING_MARK}", dir=target.parent))
    except OSError as error:
        raise UserError(f"cannot be written ({error.strerror})", where=output) from error
    with open(folder / _LOCK_FILE, "wb") as lock:
        # The lock ends with the process, however it ends; without it nobody could tell a leftover from a running job.
        fcntl.flock(lock, fcntl.LOCK_EX)
        try:
            yield folder
        finally:
            if folder.exists():
                shutil.rmtree(folder)


def publish(folder: pathlib.Path, output: str, info: DatasetInfo) -> None:
    """Writes `dataset.json` and renames the folder to `output`, in place of a dataset that is there."""
    target = pathlib.Path(os.path.abspath(output))
    for path in folder.iterdir():
        if path.name not in _dataset_files(info):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    (folder / schema.DATASET_INFO_FILE).write_text(info.to_json())
    folder.chmod(0o777 & ~_umask())  # mkdtemp made it for this user alone
    if target.exists() and any(target.iterdir()):
        replaced = target.with_name(f".{target.name}{_REPLACED_MARK}{folder.name.rpartition('-')[2]}")
        os.rename(target, replaced)
        os.rename(folder, target)
        shutil.rmtree(replaced)
    else:
        os.rename(folder, target)


def _dataset_files(info: DatasetInfo) -> set[str]:
    shards = {shard.name for split in info.splits.values() for shard in split.shards}
    return shards | {schema.QUARANTINE_FILE, schema.REPORT_HTML_FILE, schema.REPORT_JSON_FILE, schema.ISSUES_CSV_FILE}


def _remove_leftovers(target: pathlib.Path) -> None:
    for mark in (_STAGING_MARK, _REPLACED_MARK):
        for folder in target.parent.glob(f".{glob.escape(target.name)}{mark}*"):
            if _is_locked(folder):
                raise UserError("another conversion to this output is running", where=str(target))
            shutil.rmtree(folder)


def _is_locked(folder: pathlib.Path) -> bool:
    try:
        with open(folder / _LOCK_FILE, "rb") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
