"""The dataset directory appears complete or not at all.

Work goes on in a staging folder. On a local disk it lies beside the output and is renamed at the end; in Google Cloud
Storage, which renames single objects only, it lies in the output and `dataset.json` appears last.
"""

import contextlib
import fcntl
import glob
import os
import pathlib
import re
import shutil
import uuid
from collections.abc import Iterator

from preprocessing import schema, storage
from preprocessing.dataset_info import DatasetInfo
from preprocessing.errors import UserError

_STAGING_MARK = ".converting-"
_REPLACED_MARK = ".replaced-"
_LOCK_FILE = ".lock"
_SHARD_NAME = re.compile(rf"({'|'.join(schema.SPLITS)})-\d{{5}}-of-\d{{5}}\.tfrecord")
_EXTRA_FILES = (
    schema.QUARANTINE_FILE,
    schema.CHANGES_FILE,
    schema.REPORT_HTML_FILE,
    schema.REPORT_JSON_FILE,
    schema.ISSUES_CSV_FILE,
)


def existing_dataset(output: str) -> DatasetInfo | None:
    """Returns what the dataset at `output` holds, None when there is no dataset.

    Raises:
      UserError: when its `dataset.json` is damaged, or something else is there.
    """
    require_ours(output)
    info_file = storage.join(output, schema.DATASET_INFO_FILE)
    if not storage.of(output).exists(info_file):
        return None
    return DatasetInfo.from_json(storage.read_bytes(info_file), where=info_file)


def require_ours(output: str) -> None:
    """Raises UserError when something is at `output` that is no dataset directory: it is not ours to overwrite."""
    place = storage.of(output)
    if place.exists(storage.join(output, schema.DATASET_INFO_FILE)):
        return
    if not place.is_folder(output):
        is_foreign = place.exists(output)
    elif storage.is_remote(output):
        # A job that was killed while it published leaves shards: they are ours.
        is_foreign = not all(map(_is_ours, _names(output)))
    else:
        is_foreign = any(os.scandir(output))
    if is_foreign:
        raise UserError("exists and is not a dataset", where=output, remedy="choose another OUTPUT or remove it")


def is_complete(output: str, info: DatasetInfo) -> bool:
    """Returns whether every shard is there with its size."""
    place = storage.of(output)
    shards = (shard for split in info.splits.values() for shard in split.shards)
    try:
        return all(place.num_bytes(storage.join(output, shard.name)) == shard.num_bytes for shard in shards)
    except FileNotFoundError:
        return False


@contextlib.contextmanager
def staging(output: str) -> Iterator[str]:
    """Gives an empty folder to work in, and removes it afterwards; first removes what killed jobs have left behind.

    Raises:
      UserError: when another conversion to the same output is running here, or the place cannot be written.
    """
    context = _google_staging(output) if storage.is_remote(output) else _local_staging(output)
    with contextlib.ExitStack() as stack:
        with storage.failures_told("written", output):
            folder = stack.enter_context(context)
        yield folder


def publish(folder: str, output: str, info: DatasetInfo) -> None:
    """Makes the staging folder's files the dataset at `output`, in place of a dataset that is there."""
    names = [shard.name for split in info.splits.values() for shard in split.shards]
    place = storage.of(folder)
    names += [name for name in _EXTRA_FILES if place.exists(storage.join(folder, name))]
    if storage.is_remote(output):
        _publish_objects(folder, output, names, info)
    else:
        _publish_folder(pathlib.Path(folder), _absolute(output), names, info)


@contextlib.contextmanager
def _local_staging(output: str) -> Iterator[str]:
    target = _absolute(output)
    target.parent.mkdir(parents=True, exist_ok=True)
    _remove_leftovers(target)
    folder = target.with_name(f".{target.name}{_STAGING_MARK}{uuid.uuid4().hex}")
    try:
        folder.mkdir(mode=0o700)
        with open(folder / _LOCK_FILE, "wb") as lock:
            # The lock ends with the process, however it ends: this tells a leftover from the folder of a running job.
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield str(folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _publish_folder(folder: pathlib.Path, target: pathlib.Path, names: list[str], info: DatasetInfo) -> None:
    for path in folder.iterdir():
        if path.name not in (*names, _LOCK_FILE):
            path.unlink()
    (folder / schema.DATASET_INFO_FILE).write_text(info.to_json())
    mask = os.umask(0)
    os.umask(mask)
    folder.chmod(0o777 & ~mask)  # it was made for this user alone
    if target.exists() and any(target.iterdir()):
        replaced = target.with_name(f".{target.name}{_REPLACED_MARK}{uuid.uuid4().hex}")
        target.rename(replaced)
        folder.rename(target)
        shutil.rmtree(replaced)
    else:
        folder.rename(target)
    (target / _LOCK_FILE).unlink()


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


def _absolute(output: str) -> pathlib.Path:
    return pathlib.Path(os.path.abspath(output))


@contextlib.contextmanager
def _google_staging(output: str) -> Iterator[str]:
    for name in _names(output):
        if name.startswith(_STAGING_MARK):
            storage.of(output).remove(storage.join(output, name))
    folder = storage.join(output, f"{_STAGING_MARK}{uuid.uuid4().hex}")
    try:
        yield folder
    finally:
        storage.of(output).remove(folder)


def _publish_objects(folder: str, output: str, names: list[str], info: DatasetInfo) -> None:
    from preprocessing import google_storage  # noqa: PLC0415 - only where the package is installed

    place = google_storage.GoogleStorage()
    place.remove(storage.join(output, schema.DATASET_INFO_FILE))  # from here on there is no dataset
    for name in _names(output):
        if not name.startswith(_STAGING_MARK):
            place.remove(storage.join(output, name))
    for name in names:
        place.rename(storage.join(folder, name), storage.join(output, name))
    storage.write_text(storage.join(output, schema.DATASET_INFO_FILE), info.to_json())


def _names(output: str) -> list[str]:
    """Returns the names of all objects in the folder `output`, relative to it."""
    prefix = storage.join(output, "")
    return [path.removeprefix(prefix) for path in storage.of(output).list_files(output)]


def _is_ours(name: str) -> bool:
    return name.startswith(_STAGING_MARK) or name in _EXTRA_FILES or _SHARD_NAME.fullmatch(name) is not None
