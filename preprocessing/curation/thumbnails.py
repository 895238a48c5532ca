"""Small pictures for the report."""

import base64

from PIL import Image

from preprocessing import images, pixels
from preprocessing.options import ImageOptions
from preprocessing.quarantine import RejectedError

_LONG_SIDE = 144
_QUALITY = 72


def data_uri(data: bytes, options: ImageOptions) -> str:
    """Returns a `data:` URI of the image in a file, upright, free of metadata; "" when it cannot be decoded."""
    try:
        header = images.read_header(data, options)
        image = pixels.decode(header.clean(data), header, _LONG_SIDE)
    except RejectedError:
        return ""
    encoded = pixels.encode(shrink(image), "JPEG", _QUALITY)
    return f"data:image/jpeg;base64,{base64.b64encode(encoded).decode()}"


def shrink(image: Image.Image) -> Image.Image:
    """Returns the image with its longer side at most 144 pixels long; the pixels of a tiny one are enlarged to show."""
    width, height = image.size
    scale = _LONG_SIDE / max(width, height)
    if scale >= 2:
        factor = int(scale)
        return image.resize((width * factor, height * factor), Image.Resampling.NEAREST)
    size = max(1, round(width * min(1, scale))), max(1, round(height * min(1, scale)))
    return image.resize(size, Image.Resampling.BICUBIC, reducing_gap=2.0)
