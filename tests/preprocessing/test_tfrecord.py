import io

import pytest

from preprocessing import tfrecord

RECORDS = [b"first", b"", b"x" * 200_000, b"last"]


@pytest.fixture
def file_bytes():
    return b"".join(b"".join(tfrecord.frame([record[:2], record[2:]])) for record in RECORDS)


def test_tensorflow_reads_what_we_write(file_bytes, tmp_path):
    import tensorflow as tf

    path = tmp_path / "shard.tfrecord"
    path.write_bytes(file_bytes)
    assert [record.numpy() for record in tf.data.TFRecordDataset(str(path))] == RECORDS


def test_the_file_is_the_one_that_tensorflow_would_write(file_bytes, tmp_path):
    import tensorflow as tf

    path = tmp_path / "shard.tfrecord"
    with tf.io.TFRecordWriter(str(path)) as writer:
        for record in RECORDS:
            writer.write(record)
    assert path.read_bytes() == file_bytes


def test_round_trip(file_bytes):
    assert list(tfrecord.read_records(io.BytesIO(file_bytes))) == RECORDS


@pytest.mark.parametrize("position", [0, 9, 13, 100, -1])
def test_a_flipped_bit_is_found(file_bytes, position):
    damaged = bytearray(file_bytes)
    damaged[position] ^= 0x10
    with pytest.raises(tfrecord.DamagedRecordError):
        list(tfrecord.read_records(io.BytesIO(damaged)))


@pytest.mark.parametrize("num_lost", [1, 10, 19, 100])
def test_a_cut_inside_a_record_is_found(file_bytes, num_lost):
    with pytest.raises(tfrecord.DamagedRecordError, match="record"):
        list(tfrecord.read_records(io.BytesIO(file_bytes[:-num_lost])))
