"""The TFRecord file format: each record is framed by its length and two masked CRC-32C checksums.

Format: https://www.tensorflow.org/tutorials/load_data/tfrecord#tfrecords_format_details
"""

import struct
from collections.abc import Iterator
from typing import BinaryIO

import google_crc32c

_HEADER = struct.Struct("<QI")
_FOOTER = struct.Struct("<I")
FRAME_BYTES = _HEADER.size + _FOOTER.size


class DamagedRecordError(ValueError):
    """A TFRecord file does not hold what its checksums and lengths say."""


def frame(record: bytes) -> bytes:
    """Returns the record as it stands in a file: length, checksum of the length, record, checksum of the record."""
    length = len(record).to_bytes(8, "little")
    header = length + _FOOTER.pack(_masked_crc(length))
    return b"".join((header, record, _FOOTER.pack(_masked_crc(record))))


def read_records(file: BinaryIO) -> Iterator[bytes]:
    """Yields the records of a file; raises DamagedRecordError at the first one that is cut or altered."""
    index = 0
    while header := file.read(_HEADER.size):
        if len(header) < _HEADER.size:
            raise DamagedRecordError(f"record {index}: the file ends inside its header")
        length, length_crc = _HEADER.unpack(header)
        if _masked_crc(header[:8]) != length_crc:
            raise DamagedRecordError(f"record {index}: its length is damaged")
        body = file.read(length + _FOOTER.size)
        if len(body) < length + _FOOTER.size:
            raise DamagedRecordError(f"record {index}: the file ends inside it")
        record = body[:length]
        if _masked_crc(record) != _FOOTER.unpack_from(body, length)[0]:
            raise DamagedRecordError(f"record {index}: its content is damaged")
        yield record
        index += 1


def _masked_crc(data: bytes) -> int:
    # Rotated and shifted, because a checksum over data that holds checksums is weak.
    crc = google_crc32c.value(data)
    return (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF
