"""`tf.train.Example` on the wire, written and read without TensorFlow (3 s and 550 MB for each worker).

Messages (tensorflow/core/example/{example,feature}.proto): Example{1: Features}, Features{1: map<string, Feature>},
Feature{1: BytesList | 2: FloatList | 3: Int64List}, each list {1: repeated value}.
"""

import itertools
from collections.abc import Iterator, Mapping
from typing import Any

_LENGTH_DELIMITED = 2
_VARINT = 0
_SMALL_BYTES = 4096
_FIELD_1 = b"\x0a"  # field 1, length-delimited
_INT64_LIST_KIND = 3
_INT64_LIST = b"\x1a"  # field 3, length-delimited


class MalformedExampleError(ValueError):
    """The bytes are not a `tf.train.Example` of bytes and int64 features."""


def encode(features: Mapping[str, bytes | int]) -> list[bytes]:
    """Returns the serialised Example in parts to be joined, so that an image in it need not be copied.

    Keys stand in the mapping's order, with one value each: bytes, or int for int64.
    """
    parts: list[bytes] = []
    size = 0
    for key, value in features.items():
        entry, entry_size = _map_entry(key.encode(), value)
        parts += entry
        size += entry_size
    return _join_small([_FIELD_1, _varint(size), *parts])


def decode(record: bytes) -> dict[str, list[Any]]:
    """Returns the features of a serialised Example; raises MalformedExampleError if it is none."""
    features: dict[str, list[Any]] = {}
    try:
        for _, message in _fields(record):
            for _, entry in _fields(message):
                pair = dict(_fields(entry))
                features[pair[1].decode()] = _feature_values(pair[2])
    except (KeyError, IndexError, UnicodeDecodeError, TypeError, AttributeError) as error:
        raise MalformedExampleError(f"not a tf.train.Example ({error!r})") from error
    return features


def _map_entry(key: bytes, value: bytes | int) -> tuple[list[bytes], int]:
    """Returns the parts of one map entry and their total size."""
    if isinstance(value, bytes):
        value_list = _FIELD_1 + _varint(len(value))
        list_size = len(value_list) + len(value)
        feature = [_FIELD_1, _varint(list_size), value_list, value]
    else:
        packed = _varint(value & 0xFFFFFFFFFFFFFFFF)  # negative int64 as two's complement
        packed_list = _FIELD_1 + _varint(len(packed)) + packed
        feature = [_INT64_LIST, _varint(len(packed_list)), packed_list]
    feature_size = sum(map(len, feature))
    head = b"".join((_FIELD_1, _varint(len(key)), key, b"\x12", _varint(feature_size)))
    entry_size = len(head) + feature_size
    entry_head = _FIELD_1 + _varint(entry_size)
    return [entry_head, head, *feature], len(entry_head) + entry_size


def _join_small(parts: list[bytes]) -> list[bytes]:
    """Returns the parts with runs of small ones joined: three parts for a record with one image."""
    joined: list[bytes] = []
    for is_small, run in itertools.groupby(parts, lambda part: len(part) < _SMALL_BYTES):
        pieces = list(run)
        joined += [b"".join(pieces)] if is_small else pieces
    return joined


def _feature_values(feature: bytes) -> list[Any]:
    values: list[Any] = []
    for kind, value_list in _fields(feature):
        for _, value in _fields(value_list):
            if kind != _INT64_LIST_KIND:
                values.append(value)
            elif isinstance(value, bytes):
                values += _packed_int64(value)
            else:
                values.append(_signed(value))
    return values


def _packed_int64(data: bytes) -> Iterator[int]:
    position = 0
    while position < len(data):
        value, position = _read_varint(data, position)
        yield _signed(value)


def _signed(value: int) -> int:
    return value - (1 << 64) if value >> 63 else value


def _fields(message: bytes) -> Iterator[tuple[int, Any]]:
    """Yields `(field number, value)`: an int for a varint, bytes for what has a length; nothing else is expected."""
    position = 0
    while position < len(message):
        tag, position = _read_varint(message, position)
        size_or_value, position = _read_varint(message, position)
        if tag & 7 == _VARINT:
            yield tag >> 3, size_or_value
        elif tag & 7 == _LENGTH_DELIMITED and position + size_or_value <= len(message):
            yield tag >> 3, message[position : position + size_or_value]
            position += size_or_value
        else:
            raise MalformedExampleError("a field has an unexpected wire type or runs past the end")


def _varint(value: int) -> bytes:
    if value < 0x80:
        return bytes((value,))
    encoded = bytearray()
    while value >= 0x80:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)


def _read_varint(data: bytes, position: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
        shift += 7
