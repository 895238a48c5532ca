import io

import numpy as np
import pytest
from PIL import Image

from preprocessing import jpeg_header
from preprocessing.quarantine import Reason, RejectedError
from tests.preprocessing import pictures

GPS = 0x8825


def exif(orientation: int = 1) -> Image.Exif:
    block = Image.Exif()
    block[0x0112] = orientation
    block[0x010F] = "SecretCamera"
    block.get_ifd(GPS)[1] = "N"
    return block


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"subsampling": 0}, {"restart_marker_blocks": 2}])
def test_a_plain_file_is_kept_byte_for_byte(options):
    data = pictures.jpeg(size=(200, 100), **options)
    header = jpeg_header.scan(data)
    assert (header.format, header.width, header.height) == ("JPEG", 200, 100)
    assert not header.must_decode
    assert header.clean(data) is data


def test_a_grey_file_is_kept():
    header = jpeg_header.scan(pictures.encode(pictures.pixels(mode="L"), "JPEG"))
    assert not header.must_decode


def test_metadata_is_cut_out_and_the_pixels_stay():
    data = pictures.jpeg(exif=exif(), comment=b"SecretComment", xmp=b"<x:SecretXmp/>", icc_profile=b"SecretProfile" * 9)
    header = jpeg_header.scan(data)
    clean = header.clean(data)
    assert not header.must_decode
    assert b"Secret" in data
    assert b"Secret" not in clean
    assert b"Exif" not in clean
    assert np.array_equal(np.asarray(pictures.decode(data)), np.asarray(pictures.decode(clean)))


def test_metadata_in_the_place_of_the_colour_transform_is_cut_out():
    plain = pictures.jpeg()
    segment = b"\xff\xee\x00\x0aSecret!!"
    assert jpeg_header.scan(plain[:2] + segment + plain[2:]).clean(plain[:2] + segment + plain[2:]) == plain


def test_a_thumbnail_in_the_jfif_segment_makes_it_decoded():
    plain = pictures.jpeg()
    length = int.from_bytes(plain[4:6], "big")
    with_thumbnail = plain[:4] + (length + 3).to_bytes(2, "big") + plain[6:18] + b"\1\1RGB" + plain[20:]
    assert jpeg_header.scan(with_thumbnail).must_decode


def test_what_follows_the_image_is_cut_off():
    data = pictures.jpeg(seed=1)
    header = jpeg_header.scan(data + pictures.jpeg(seed=2, comment=b"Secret"))
    assert header.clean(data + pictures.jpeg(seed=2, comment=b"Secret")) == data


def test_a_thumbnail_within_the_metadata_is_not_the_image():
    thumbnail = pictures.jpeg(size=(8, 8))
    block = b"\xff\xe1" + (len(thumbnail) + 2).to_bytes(2, "big") + thumbnail
    plain = pictures.jpeg(size=(100, 60))
    header = jpeg_header.scan(plain[:2] + block + plain[2:])
    assert (header.width, header.height) == (100, 60)
    assert header.clean(plain[:2] + block + plain[2:]) == plain


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_is_read(orientation):
    header = jpeg_header.scan(pictures.jpeg(exif=exif(orientation)))
    assert header.orientation == orientation
    assert header.must_decode == (orientation != 1)


@pytest.mark.parametrize(
    "block",
    [
        b"Exif\0\0",
        b"Exif\0\0II*\0\xff\xff\xff\xff",
        b"Exif\0\0II*\0\x08\0\0\0\xff\xff",
        b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x09\0\0",
        b"Exif\0\0garbage",
    ],
)
def test_broken_exif_means_upright(block):
    plain = pictures.jpeg()
    segment = b"\xff\xe1" + (len(block) + 2).to_bytes(2, "big") + block
    assert jpeg_header.scan(plain[:2] + segment + plain[2:]).orientation == 1


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"exif": exif()}])
@pytest.mark.parametrize("share", [0.999, 0.9, 0.5, 0.2, 0.01])
def test_a_truncated_file_is_refused(share, options):
    data = pictures.jpeg(size=(300, 200), **options)
    with pytest.raises(RejectedError) as caught:
        jpeg_header.scan(data[: int(len(data) * share)])
    assert caught.value.reason == Reason.TRUNCATED


def test_cmyk_has_to_be_decoded():
    image = pictures.pixels().convert("CMYK")
    assert jpeg_header.scan(pictures.encode(image, "JPEG")).must_decode


def test_arithmetic_coding_has_to_be_decoded():
    data = bytearray(pictures.jpeg())
    data[data.index(b"\xff\xc0") + 1] = 0xC9
    assert jpeg_header.scan(bytes(data)).must_decode


def test_a_file_without_huffman_tables_has_to_be_decoded():
    data = pictures.jpeg()
    while (start := data.find(b"\xff\xc4")) >= 0:
        length = int.from_bytes(data[start + 2 : start + 4], "big")
        data = data[:start] + data[start + 2 + length :]
    assert jpeg_header.scan(data).must_decode


def test_twelve_bits_are_refused():
    data = bytearray(pictures.jpeg())
    data[data.index(b"\xff\xc0") + 4] = 12
    with pytest.raises(RejectedError) as caught:
        jpeg_header.scan(bytes(data))
    assert caught.value.reason == Reason.UNSUPPORTED_MODE


def test_thousands_of_scans_are_refused_before_decoding():
    data = pictures.jpeg(progressive=True)
    start = data.index(b"\xff\xda")
    one_scan = data[start : data.index(b"\xff\xc4", start)]
    with pytest.raises(RejectedError, match="scans"):
        jpeg_header.scan(data[:start] + one_scan * 5_000 + data[start:])


@pytest.mark.parametrize(
    "data",
    [
        b"\xff\xd8\xff\xd9",
        b"\xff\xd8\xff\xe0\x00\x01",
        b"\xff\xd8\xff\xc0\x00\x04\x08\x00\xff\xd9",
        b"\xff\xd8\xff\xe0\x00\x04ab\x00\x00\xff\xd9",
    ],
)
def test_damaged_structure_is_refused(data):
    with pytest.raises(RejectedError):
        jpeg_header.scan(data)


def test_no_prefix_of_a_file_makes_it_crash():
    data = pictures.jpeg(exif=exif(6))
    for end in range(3, len(data), 7):
        with pytest.raises(RejectedError):
            jpeg_header.scan(data[:end])


def test_what_is_copied_after_a_change_of_one_byte_can_still_be_opened():
    data = pictures.encode(pictures.pixels(size=(16, 16)), "JPEG")
    random = np.random.default_rng(0)
    for position in range(2, len(data)):
        changed = bytearray(data)
        changed[position] = random.integers(256)
        try:
            header = jpeg_header.scan(bytes(changed))
        except RejectedError:
            continue
        if not header.must_decode:
            Image.open(io.BytesIO(header.clean(bytes(changed))), formats=["JPEG"])
