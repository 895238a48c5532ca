"""The TFRecord file format: each record is framed by its length and two masked CRC-32C checksums.

Format: https://www.tensorflow.org/tutorials/load_data/tfrecord#tfrecords_format_details
"""

import functools
import struct
from collections.abc import Iterator, Sequence
from typing import Protocol

import google_crc32c

_HEADER = struct.Struct("<QI")
_FOOTER = struct.Struct("<I")


class Readable(Protocol):
    """What is needed of a file to read records from it."""

    def read(self, size: int, /) -> bytes:
        """Returns the next `size` bytes, fewer only at the end."""


class DamagedRecordError(ValueError):
    """A TFRecord file does not hold what its checksums and lengths say."""


def frame(record: Sequence[bytes]) -> list[bytes]:
    """Returns a record as it stands in a file: length, checksum of the length, record, checksum of the record.

    Record and result are parts to be joined: an image is copied once, when everything goes to the file.
    """
    length = sum(map(len, record)).to_bytes(8, "little")
    crc = functools.reduce(google_crc32c.extend, record, 0)
    header = length + _FOOTER.pack(_mask(google_crc32c.value(length)))
    return [header, *record, _FOOTER.pack(_mask(crc))]


def read_records(file: Readable) -> Iterator[bytes]:
    """Yields the records of a file; raises DamagedRecordError at the first one that is cut or altered."""
    index = 0
    while header := file.read(_HEADER.size):
        if len(header) < _HEADER.size:
            raise DamagedRecordError(f"record {index}: the file ends inside its header")
        length, length_crc = _HEADER.unpack(header)
        if _mask(google_crc32c.value(header[:8])) != length_crc:
            raise DamagedRecordError(f"record {index}: its length is damaged")
        body = file.read(length + _FOOTER.size)
        if len(body) < length + _FOOTER.size:
            raise DamagedRecordError(f"record {index}: the file ends inside it")
        record = body[:length]
        if _mask(google_crc32c.value(record)) != _FOOTER.unpack_from(body, length)[0]:
            raise DamagedRecordError(f"record {index}: its content is damaged")
        yield record
        index += 1


def _mask(crc: int) -> int:
    # Rotated and shifted, because a checksum over data that holds checksums is weak.
    return (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF
