"""The EXIF orientation of a JPEG, read and undone inside the graph: an exported model turns photographs upright, too.

Cameras store what the sensor saw and say how to turn it; TensorFlow's decoders ignore that. Conversion turns images
upright and drops EXIF, so only images that a served model gets from elsewhere need this.
"""

import tensorflow as tf

# EXIF comes first, or after a short JFIF segment; what it says of the main image lies within one segment.
_SEARCHED_BYTES = 256
_SEGMENT_BYTES = 2**16
_MARKER = b"Exif\0\0"
_MAX_ENTRIES = 64
_ENTRY_BYTES = 12
_ORIENTATION_TAG = 0x0112
_UPRIGHT = 1


def orientation(encoded: tf.Tensor) -> tf.Tensor:
    """Returns the orientation that a JPEG's EXIF states: int32 scalar 1 to 8; 1 (upright) when it states none.

    The structure is that of TIFF 6.0, in which the first directory describes the main image (CIPA DC-008, 4.6.2).
    """
    content = tf.cast(tf.io.decode_raw(tf.strings.substr(encoded, 0, _SEGMENT_BYTES), tf.uint8), tf.int32)
    marker_at = _find(content[:_SEARCHED_BYTES], _MARKER)
    return tf.cond(marker_at >= 0, lambda: _of_tiff(content[marker_at + len(_MARKER) :]), lambda: _UPRIGHT)


def turn_upright(square: tf.Tensor, stated: tf.Tensor) -> tf.Tensor:
    """Undoes an orientation.

    Args:
      square: uint8 `[size, size, channels]`.
      stated: int32 scalar, as `orientation` returns it.
    """

    def turn():
        turned = tf.cond(stated >= 5, lambda: _transposed(square), lambda: square)
        turned = tf.cond(_is_one_of(stated, 2, 3, 6, 7), lambda: tf.reverse(turned, [1]), lambda: turned)
        return tf.cond(_is_one_of(stated, 3, 4, 7, 8), lambda: tf.reverse(turned, [0]), lambda: turned)

    return tf.cond(tf.equal(stated, _UPRIGHT), lambda: square, turn)


def _transposed(square: tf.Tensor) -> tf.Tensor:
    """Returns the pixels with rows and columns exchanged.

    `tf.transpose` of uint8 would have TensorFlow print an error into every command's output, on many processors.
    """
    size, num_channels = tf.shape(square)[0], square.shape[2]
    sources = tf.range(size)[:, tf.newaxis] + size * tf.range(size)
    return tf.gather(tf.reshape(square, [-1, num_channels]), sources)


def _is_one_of(value: tf.Tensor, *choices: int) -> tf.Tensor:
    return tf.reduce_any(tf.equal(value, choices))


def _find(content: tf.Tensor, pattern: bytes) -> tf.Tensor:
    """Returns where `pattern` first begins in `content` (int32 `[bytes]`), or -1."""
    padded = tf.pad(content, [[0, len(pattern)]], constant_values=-1)
    size = tf.size(content)
    matches = tf.reduce_all([tf.equal(padded[i : i + size], byte) for i, byte in enumerate(pattern)], axis=0)
    starts = tf.where(matches)[:, 0]
    return tf.cast(tf.reduce_max(tf.concat([[-1], starts[:1]], axis=0)), tf.int32)


def _of_tiff(content: tf.Tensor) -> tf.Tensor:
    """Reads the orientation from the first directory of a TIFF structure, int32 `[bytes]`; damage reads as upright."""
    padded = tf.pad(content, [[0, _ENTRY_BYTES]])
    is_little_endian = tf.equal(padded[0], ord("I"))

    def number(position, num_bytes):
        # Positions past the end read zeros.
        in_content = tf.clip_by_value(position, 0, tf.size(content))
        parts = [tf.gather(padded, in_content + i) for i in range(num_bytes)]
        return tf.where(is_little_endian, _combine(parts[::-1]), _combine(parts))

    directory = number(4, 4)
    entries = directory + 2 + _ENTRY_BYTES * tf.range(_MAX_ENTRIES)
    is_orientation = tf.equal(number(entries, 2), _ORIENTATION_TAG)
    is_orientation = tf.logical_and(is_orientation, tf.range(_MAX_ENTRIES) < number(directory, 2))
    value = tf.reduce_max(tf.where(is_orientation, number(entries + 8, 2), 0))
    return tf.where(tf.logical_and(value >= 1, value <= 8), value, _UPRIGHT)


def _combine(parts: list[tf.Tensor]) -> tf.Tensor:
    """Returns the number whose bytes are `parts`, highest first; int32 wraps round, as a position that reads zeros."""
    total = parts[0]
    for part in parts[1:]:
        total = total * 256 + part
    return total
