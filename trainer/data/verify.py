"""Compares the shards of a split with `dataset.json` before the first step."""

import concurrent.futures
import functools

import google_crc32c
import tensorflow as tf

from preprocessing.dataset_info import ShardInfo
from trainer.data.records import DatasetDirectory
from trainer.errors import UserError

_NUM_THREADS = 4
_CHUNK_BYTES = 4 * 2**20
_REMEDY = "convert the images again, or copy the dataset again"


def verify_split(dataset: DatasetDirectory, split: str, check: str = "auto") -> None:
    """Checks every shard of the split.

    Sizes find a shard that was cut, emptied or replaced; only checksums find a flipped bit before TensorFlow does, in
    the middle of the training.

    Args:
      dataset: the opened dataset.
      split: name of the split.
      check: "size", "checksum" (reads every byte), or "auto": checksums of local files, sizes of remote ones.

    Raises:
      UserError: names the first shard, in order, that is missing or damaged; also when the split is empty or unknown.
    """
    info = dataset.info.split(split, where=dataset.path)
    if not info.num_examples:
        raise UserError(f"split {split!r} is empty", where=dataset.path, remedy="give `convert` another --split")
    with_checksum = check == "checksum" or (check == "auto" and "://" not in dataset.path)
    verify = functools.partial(_verify_shard, dataset, with_checksum)
    with concurrent.futures.ThreadPoolExecutor(_NUM_THREADS) as pool:
        for _ in pool.map(verify, info.shards):
            pass


def _verify_shard(dataset: DatasetDirectory, with_checksum: bool, shard: ShardInfo) -> None:
    path = dataset.shard_path(shard)
    try:
        num_bytes = tf.io.gfile.stat(path).length
        if num_bytes != shard.num_bytes:
            raise UserError(f"damaged ({num_bytes} bytes, not {shard.num_bytes})", where=path, remedy=_REMEDY)
        if with_checksum and (crc32c := file_crc32c(path)) != shard.crc32c:
            raise UserError(f"damaged (checksum {crc32c}, not {shard.crc32c})", where=path, remedy=_REMEDY)
    except tf.errors.NotFoundError as error:
        raise UserError("missing shard", where=path, remedy=_REMEDY) from error
    except tf.errors.OpError as error:
        raise UserError(f"cannot be read ({error.message})", where=path, remedy=_REMEDY) from error


def file_crc32c(path: str) -> str:
    """Returns the CRC-32C of a whole file, local or `gs://`, as 8 hex digits."""
    checksum = google_crc32c.Checksum()
    with tf.io.gfile.GFile(path, "rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            checksum.update(chunk)
    return checksum.hexdigest().decode()
