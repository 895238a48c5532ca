import base64

import pytest
from PIL import Image

from preprocessing.curation import thumbnails
from preprocessing.options import ImageOptions
from tests.preprocessing import pictures
from tests.preprocessing.curation import photographs


def thumbnail(data: bytes) -> Image.Image:
    prefix, _, encoded = thumbnails.data_uri(data, ImageOptions()).partition(",")
    assert prefix == "data:image/jpeg;base64"
    assert len(encoded) < 12_000
    return pictures.decode(base64.b64decode(encoded))


@pytest.mark.parametrize(
    ("size", "shown"), [((640, 427), (144, 96)), ((3000, 10), (144, 1)), ((100, 100), (100, 100)), ((8, 8), (144, 144))]
)
def test_size(size, shown):
    assert thumbnail(pictures.png(size=size)).size == shown


def test_a_thumbnail_is_upright_and_free_of_metadata():
    exif = Image.Exif()
    exif[0x0112] = 6
    exif[0x010E] = "secret place"
    data = pictures.encode(photographs.china(), "JPEG", exif=exif, comment=b"secret")
    shown = thumbnail(data)
    assert shown.size == (96, 144)
    assert not shown.getexif()
    assert b"secret" not in base64.b64decode(thumbnails.data_uri(data, ImageOptions()).partition(",")[2])


@pytest.mark.parametrize("data", [b"", b"not an image", pictures.jpeg()[:200]])
def test_what_cannot_be_decoded_has_no_thumbnail(data):
    assert thumbnails.data_uri(data, ImageOptions()) == ""
