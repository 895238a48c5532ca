import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from preprocessing import png_header
from preprocessing.quarantine import Reason, RejectedError
from tests.preprocessing import pictures


@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_eight_bit_grey_and_rgb_are_kept_byte_for_byte(mode):
    data = pictures.png(mode=mode)
    header = png_header.scan(data)
    assert (header.format, header.width, header.height, header.must_decode) == ("PNG", 48, 32, False)
    assert header.clean(data) is data


@pytest.mark.parametrize("mode", ["1", "P", "LA", "RGBA", "I;16"])
def test_other_pixels_have_to_be_decoded(mode):
    image = Image.new("I;16", (8, 8)) if mode == "I;16" else pictures.pixels(mode="L").convert(mode)
    assert png_header.scan(pictures.encode(image, "PNG")).must_decode


def test_transparent_colour_has_to_be_decoded():
    assert png_header.scan(pictures.png(transparency=(1, 2, 3))).must_decode


def test_interlaced_has_to_be_decoded():
    data = bytearray(pictures.png())
    data[28] = 1
    data[29:33] = _checksum(data[12:29])
    assert png_header.scan(bytes(data)).must_decode


def _checksum(data: bytes) -> bytes:
    import zlib

    return zlib.crc32(data).to_bytes(4, "big")


def test_metadata_is_cut_out_and_the_pixels_stay():
    text = PngImagePlugin.PngInfo()
    text.add_text("Comment", "SecretComment")
    text.add_itxt("XML:com.adobe.xmp", "SecretXmp")
    data = pictures.png(pnginfo=text, exif=b"Exif\0\0MM\0*\0\0\0\x08\0\0SecretExif")
    header = png_header.scan(data)
    clean = header.clean(data)
    assert b"Secret" in data
    assert b"Secret" not in clean
    assert not header.must_decode
    assert np.array_equal(np.asarray(pictures.decode(data)), np.asarray(pictures.decode(clean)))


def test_orientation_is_read():
    block = Image.Exif()
    block[0x0112] = 6
    header = png_header.scan(pictures.png(exif=block))
    assert (header.orientation, header.must_decode) == (6, True)


def test_of_an_animation_the_still_image_is_kept():
    frames = [pictures.pixels(seed) for seed in range(3)]
    data = pictures.encode(frames[0], "PNG", save_all=True, append_images=frames[1:])
    clean = png_header.scan(data).clean(data)
    assert b"acTL" not in clean
    assert np.array_equal(np.asarray(pictures.decode(clean)), np.asarray(frames[0]))


@pytest.mark.parametrize("share", [0.999, 0.9, 0.5, 0.2])
def test_a_truncated_file_is_refused(share):
    data = pictures.png(size=(200, 100))
    with pytest.raises(RejectedError) as caught:
        png_header.scan(data[: int(len(data) * share)])
    assert caught.value.reason == Reason.TRUNCATED


def test_a_flipped_bit_is_refused():
    data = bytearray(pictures.png())
    data[len(data) // 2] ^= 1
    with pytest.raises(RejectedError, match="checksum"):
        png_header.scan(bytes(data))


@pytest.mark.parametrize(("bit_depth", "color_type"), [(0, 2), (3, 2), (99, 2), (8, 1), (8, 9), (4, 2), (16, 3)])
def test_impossible_pixels_are_refused(bit_depth, color_type):
    data = bytearray(pictures.png())
    data[24:26] = bytes((bit_depth, color_type))
    data[29:33] = _checksum(data[12:29])
    with pytest.raises(RejectedError, match="colour type"):
        png_header.scan(bytes(data))


def test_no_prefix_of_a_file_makes_it_crash():
    data = pictures.png(size=(16, 16))
    for end in range(8, len(data)):
        with pytest.raises(RejectedError):
            png_header.scan(data[:end])
