import gzip

import pytest
import tensorflow as tf

from trainer.data import records, verify
from trainer.errors import UserError

SHARD = "train-00001-of-00002.tfrecord"
_HEADER_BYTES = 12


def _first_record_bytes(content: bytes) -> int:
    return _HEADER_BYTES + int.from_bytes(content[:8], "little") + 4


def _flip_bit(content: bytes, position: int) -> bytes:
    return content[:position] + bytes([content[position] ^ 1]) + content[position + 1 :]


# The ten kinds of damage: what becomes of a shard's content; None for a shard that is not there.
DAMAGES = {
    "cut between records": lambda content: content[: _first_record_bytes(content)],
    "cut inside a header": lambda content: content[: _first_record_bytes(content) + 5],
    "cut inside a record": lambda content: content[:-20],
    "emptied": lambda content: b"",
    "bit flipped in a payload": lambda content: _flip_bit(content, _HEADER_BYTES + 40),
    "bit flipped in a length": lambda content: _flip_bit(content, 1),
    "zeros": lambda content: bytes(len(content)),
    "text": lambda content: b"not a record file\n" * 20,
    "compressed": gzip.compress,
    "missing": None,
}
# TensorFlow reads these without a complaint.
SILENT_DAMAGES = ("cut between records", "cut inside a header", "emptied")


def damage_shard(directory, damage):
    shard = directory / SHARD
    content = shard.read_bytes()
    shard.unlink()
    if DAMAGES[damage]:
        shard.write_bytes(DAMAGES[damage](content))


@pytest.mark.parametrize("damage", DAMAGES)
def test_every_kind_of_damage_is_found_and_the_shard_named(make_dataset, damage):
    path = make_dataset({"train": 8})
    dataset = records.open_dataset(path)
    verify.verify_split(dataset, "train")
    damage_shard(path, damage)
    with pytest.raises(UserError, match=f"{SHARD}: (damaged|missing)"):
        verify.verify_split(dataset, "train")


def test_sizes_alone_do_not_read_the_bytes(make_dataset):
    path = make_dataset({"train": 8})
    damage_shard(path, "bit flipped in a payload")
    verify.verify_split(records.open_dataset(path), "train", "size")


@pytest.mark.parametrize("damage", SILENT_DAMAGES)
def test_reading_notices_a_shard_that_lost_records(make_dataset, damage):
    path = make_dataset({"train": 8})
    damage_shard(path, damage)
    with pytest.raises(tf.errors.InvalidArgumentError, match=SHARD):
        list(records.load(path, "train"))


def test_reading_notices_a_shard_with_too_many_records(make_dataset):
    path = make_dataset({"train": 8})
    shard = path / SHARD
    shard.write_bytes(shard.read_bytes() * 2)
    with pytest.raises(tf.errors.InvalidArgumentError, match=SHARD):
        list(records.load(path, "train"))
