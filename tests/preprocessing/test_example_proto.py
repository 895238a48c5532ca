import pytest

from preprocessing import example_proto

FEATURES = {
    "bytes": b"\x00\xff" * 70_000,
    "empty": b"",
    "zero": 0,
    "one_byte": 127,
    "two_bytes": 300,
    "negative": -1,
    "smallest": -(2**63),
    "largest": 2**63 - 1,
    "schlüssel": "größe".encode(),
}


def test_tensorflow_reads_what_we_write():
    import tensorflow as tf

    example = tf.train.Example.FromString(b"".join(example_proto.encode(FEATURES)))
    assert set(example.features.feature) == set(FEATURES)
    for key, expected in FEATURES.items():
        feature = example.features.feature[key]
        values = feature.bytes_list.value if isinstance(expected, bytes) else feature.int64_list.value
        assert list(values) == [expected]


def test_we_read_what_tensorflow_writes():
    import tensorflow as tf

    features = {
        "label": tf.train.Feature(int64_list=tf.train.Int64List(value=[3, -5])),
        "name": tf.train.Feature(bytes_list=tf.train.BytesList(value=[b"a", b"bc"])),
        "none": tf.train.Feature(),
    }
    serialized = tf.train.Example(features=tf.train.Features(feature=features)).SerializeToString()
    assert example_proto.decode(serialized) == {"label": [3, -5], "name": [b"a", b"bc"], "none": []}


def test_round_trip():
    decoded = example_proto.decode(b"".join(example_proto.encode(FEATURES)))
    assert decoded == {key: [value] for key, value in FEATURES.items()}


@pytest.mark.parametrize("record", [b"\xff", b"\x0a\x05abc", b"not an example", b"\x0a\x03\x0a\x01\x05", b"\x80" * 20])
def test_other_bytes_are_refused(record):
    with pytest.raises(example_proto.MalformedExampleError):
        example_proto.decode(record)


def test_int64_values_that_are_not_packed_are_read():
    value_list = b"\x08\x05" + b"\x08" + b"\xff" * 9 + b"\x01"
    feature = b"\x1a" + bytes((len(value_list),)) + value_list
    entry = b"\x0a\x01a\x12" + bytes((len(feature),)) + feature
    features = b"\x0a" + bytes((len(entry),)) + entry
    assert example_proto.decode(b"\x0a" + bytes((len(features),)) + features) == {"a": [5, -1]}
