"""Which split an image belongs to: a function of its content alone, so that it never moves."""

import dataclasses
import hashlib
import math
from collections.abc import Mapping

from preprocessing import schema
from preprocessing.errors import UserError, nearest

# The words in folder names and split columns, AutoML's ML_USE among them.
SPLIT_WORDS: Mapping[str, str] = {
    "train": schema.TRAIN,
    "training": schema.TRAIN,
    "validation": schema.VALIDATION,
    "validate": schema.VALIDATION,
    "valid": schema.VALIDATION,
    "val": schema.VALIDATION,
    "test": schema.TEST,
    "testing": schema.TEST,
}
UNASSIGNED_WORDS = ("", "unassigned")


@dataclasses.dataclass(frozen=True)
class SplitFractions:
    """Share of the images for each split; raises UserError unless they add up to 1."""

    fractions: tuple[tuple[str, float], ...] = ((schema.TRAIN, 0.8), (schema.VALIDATION, 0.1), (schema.TEST, 0.1))

    def __post_init__(self):
        names = [name for name, _ in self.fractions]
        for name in names:
            if name not in schema.SPLITS:
                known = ", ".join(schema.SPLITS)
                raise UserError(
                    f"no split called {name!r}", where="--split", remedy=nearest(name, schema.SPLITS, known)
                )
        if len(set(names)) != len(names):
            raise UserError("names a split twice", where="--split")
        if not all(math.isfinite(fraction) for _, fraction in self.fractions):
            raise UserError("has a fraction that is no number", where="--split")
        if any(fraction < 0 for _, fraction in self.fractions):
            raise UserError("has a negative fraction", where="--split")
        total = sum(fraction for _, fraction in self.fractions)
        if abs(total - 1) > 1e-6:
            raise UserError(f"the fractions add up to {total:g}, not 1", where="--split")

    @classmethod
    def parse(cls, text: str) -> "SplitFractions":
        """Parses `train:0.8,validation:0.1,test:0.1`; UserError when it is not of this form."""
        pairs = []
        for part in text.split(","):
            name, colon, fraction = part.strip().partition(":")
            try:
                pairs.append((name.strip(), float(fraction)))
            except ValueError as error:
                what = f"cannot read {part!r}" if colon else f"{part!r} has no fraction"
                raise UserError(what, where="--split", remedy="write train:0.8,validation:0.1,test:0.1") from error
        return cls(tuple(pairs))

    def choose(self, group_id: str, seed: int) -> str:
        """Returns the split of a group of images.

        `group_id` is the digest of an image, or one name for a group that must stay together. The place of a group in
        [0, 1) depends on nothing but its id and the seed, so adding images moves nobody else.
        """
        hashed = hashlib.sha256(f"{seed}:{group_id}".encode()).digest()
        place = int.from_bytes(hashed[:8], "big") / 2**64
        end = 0.0
        for name, fraction in self.fractions:
            end += fraction
            if place < end:
                return name
        # Rounding can leave the sum of the fractions a hair under 1; a split of fraction 0 must stay empty.
        return max(self.fractions, key=lambda pair: pair[1])[0]


def from_word(word: str) -> str | None:
    """Returns the split that a folder name or a cell of a split column means, "" for unassigned, None if unknown."""
    lowered = word.strip().lower()
    return "" if lowered in UNASSIGNED_WORDS else SPLIT_WORDS.get(lowered)
