"""All that curation keeps of one image: a small value that travels and is held in place of the image."""

import os.path
from typing import NamedTuple

from preprocessing import pixels
from preprocessing.curation import fingerprints, properties
from preprocessing.curation.fingerprints import Fingerprint
from preprocessing.curation.properties import ImageProperties
from preprocessing.image_header import ImageHeader
from preprocessing.rows import Row

# Larger JPEGs are decoded at half, quarter or eighth of their size, which saves most of the work. Identical pixels are
# then identical at the reduced size, which has at least this many pixels on the shorter side.
_MIN_DECODED_SHORT_SIDE = 1024

_EXTENSIONS = {
    "JPEG": ("jpg", "jpeg", "jpe", "jfif"),
    "PNG": ("png", "apng"),
    "GIF": ("gif",),
    "BMP": ("bmp", "dib"),
    "WEBP": ("webp",),
    "TIFF": ("tif", "tiff"),
    "ICO": ("ico",),
    "AVIF": ("avif",),
}


class ImageFacts(NamedTuple):
    """What is known about one image.

    `digest` is the SHA-256 of the file as hex digits. `asked_split` is the split that the input names, `split` the one
    that the image was assigned; "" where there is none (yet).
    """

    path: str
    name: str
    label: str
    asked_split: str
    digest: str
    format: str
    orientation: int
    properties: ImageProperties
    fingerprint: Fingerprint
    split: str = ""

    @property
    def extension(self) -> str:
        """The extension of the file's name in small letters, without its dot."""
        return os.path.splitext(self.name)[1][1:].lower()

    @property
    def has_wrong_extension(self) -> bool:
        """Whether the name claims another format than the content has; a name without extension claims none."""
        return bool(self.extension) and self.extension not in _EXTENSIONS.get(self.format, ())


def inspect_image(data: bytes, digest: str, row: Row, header: ImageHeader) -> ImageFacts:
    """Returns the facts about an image from the bytes of its file, decoding it once.

    Raises RejectedError when it cannot be decoded to the end: a file that a header scan took for complete may still be
    damaged.
    """
    image = pixels.decode(header.clean(data), header, _MIN_DECODED_SHORT_SIDE // 2)
    small = properties.reduce_for_measuring(image)
    measured = properties.measure(image, small, len(data))
    return ImageFacts(
        path=row.path,
        name=row.name,
        label=row.label,
        asked_split=row.split,
        digest=digest,
        format=header.format,
        orientation=header.orientation,
        properties=measured._replace(**_upright_size(image.size, header)),
        fingerprint=fingerprints.take(image, small),
    )


def _upright_size(decoded_size: tuple[int, int], header: ImageHeader) -> dict[str, int]:
    """Returns the full size of the upright image: a JPEG was perhaps decoded at a reduced one."""
    width, height = decoded_size
    if header.format == "JPEG":
        is_turned = header.orientation in (5, 6, 7, 8)
        width, height = (header.height, header.width) if is_turned else (header.width, header.height)
    return {"width": width, "height": height}
