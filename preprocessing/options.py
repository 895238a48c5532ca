"""What a conversion is asked to do: frozen values that check themselves."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from preprocessing.curation.curation_options import CurationOptions
from preprocessing.errors import UserError, nearest
from preprocessing.split import SplitFractions

FORMATS = ("JPEG", "PNG", "GIF", "BMP", "WEBP", "TIFF", "ICO", "AVIF")
DEFAULT_FORMATS = ("JPEG", "PNG", "GIF", "BMP", "WEBP")
VERIFY_MODES = ("header", "decode")


@dataclasses.dataclass(frozen=True)
class ImageOptions:
    """Which images are accepted, and what becomes of them; raises UserError when the values make no sense.

    `resize_short_side` is in pixels, 0 to keep the size. `quality` is that of JPEGs that have to be encoded anew.
    """

    formats: tuple[str, ...] = DEFAULT_FORMATS
    max_pixels: int = 50_000_000
    max_bytes: int = 30_000_000
    verify: str = "header"
    resize_short_side: int = 0
    quality: int = 90

    def __post_init__(self):
        for name in self.formats:
            remedy = nearest(name, FORMATS, "write some of them")
            _require(name in FORMATS, "--formats", f"unknown format {name!r}", f"{remedy} ({', '.join(FORMATS)})")
        _require(self.max_pixels > 0, "--max_megapixels", "must be above 0")
        _require(self.max_bytes > 0, "--max_megabytes", "must be above 0")
        _require(self.verify in VERIFY_MODES, "--verify", f"must be one of {', '.join(VERIFY_MODES)}")
        _require(self.resize_short_side >= 0, "--resize_short_side", "must not be negative")
        _require(1 <= self.quality <= 100, "--quality", "must lie between 1 and 100")


@dataclasses.dataclass(frozen=True)
class ConvertOptions:
    """A whole conversion; raises UserError when the values make no sense.

    `input` is a folder, CSV or JSONL, `output` the dataset directory to make; both local or `gs://`. `fractions` is
    None unless the user asked for some. `num_shards` of each split is 0 to let the bytes decide. `allowed_prefixes` are
    places outside the input's own where images may lie. `curation` is None unless the user asked for a report.
    """

    input: str
    output: str
    fractions: SplitFractions | None = None
    labels_file: str | None = None
    max_bad_fraction: float = 0.01
    num_shards: int = 0
    seed: int = 0
    label_offset: int = 0
    allowed_prefixes: tuple[str, ...] = ()
    images: ImageOptions = dataclasses.field(default_factory=ImageOptions)
    curation: CurationOptions | None = None

    def __post_init__(self):
        _require(bool(self.input), "INPUT", "is empty")
        _require(bool(self.output), "OUTPUT", "is empty")
        _require(self.labels_file != "", "--labels", "is empty")
        for place in (self.input, self.output):
            _require("://" not in place.removeprefix("gs://"), place, "no such kind of place", "local or gs://")
        _require(0 <= self.max_bad_fraction <= 1, "--max_bad_fraction", "must lie between 0 and 1")
        _require(0 <= self.num_shards <= 99_999, "--num_shards", "must lie between 0 and 99999")
        _require(self.label_offset >= 0, "--label_offset", "must not be negative")

    def to_record(self) -> Mapping[str, Any]:
        """Returns what `dataset.json` keeps: all that decides about the content, as JSON values."""
        fields = dataclasses.asdict(self)
        del fields["output"]
        fractions = self.fractions or SplitFractions()
        fields["fractions"] = dict(fractions.fractions)
        fields["allowed_prefixes"] = list(self.allowed_prefixes)
        fields["images"]["formats"] = list(self.images.formats)
        if self.curation:
            fields["curation"]["drop"] = sorted(self.curation.drop.issues)
        return fields


def _require(is_satisfied: bool, where: str, what: str, remedy: str = "") -> None:
    if not is_satisfied:
        raise UserError(what, where=where, remedy=remedy)
