"""A PNG with many small pictures and their labels: a look at what a dataset really holds."""

import io
import math
from collections.abc import Sequence

from PIL import Image, ImageDraw, ImageFont, ImageOps

_PICTURE_PIXELS = 128
_CAPTION_PIXELS = 18
_MARGIN_PIXELS = 6


def draw(pictures: Sequence[tuple[bytes, str]]) -> Image.Image:
    """Returns a sheet, nearly square, of `(JPEG or PNG file, caption)`."""
    num_columns = math.ceil(math.sqrt(len(pictures)))
    num_rows = math.ceil(len(pictures) / num_columns)
    cell_width = _PICTURE_PIXELS + 2 * _MARGIN_PIXELS
    cell_height = cell_width + _CAPTION_PIXELS
    sheet = Image.new("RGB", (num_columns * cell_width, num_rows * cell_height), "white")
    font = ImageFont.load_default()
    for index, (data, caption) in enumerate(pictures):
        row, column = divmod(index, num_columns)
        left, top = column * cell_width + _MARGIN_PIXELS, row * cell_height + _MARGIN_PIXELS
        picture = _fit(Image.open(io.BytesIO(data)).convert("RGB"))
        place = (left + (_PICTURE_PIXELS - picture.width) // 2, top + (_PICTURE_PIXELS - picture.height) // 2)
        sheet.paste(picture, place)
        ImageDraw.Draw(sheet).text((left, top + _PICTURE_PIXELS + 2), _shorten(caption, font), "black", font)
    return sheet


def _fit(picture: Image.Image) -> Image.Image:
    # A few large pixels say more about a tiny picture than a blur would.
    is_tiny = max(picture.size) * 4 <= _PICTURE_PIXELS
    resampling = Image.Resampling.NEAREST if is_tiny else Image.Resampling.BICUBIC
    return ImageOps.contain(picture, (_PICTURE_PIXELS, _PICTURE_PIXELS), resampling)


def _shorten(caption: str, font: ImageFont.ImageFont | ImageFont.FreeTypeFont) -> str:
    """Returns as much of the caption as fits under a picture."""
    while caption and font.getlength(caption) > _PICTURE_PIXELS:
        caption = caption[:-1]
    return caption
