"""How evenly the classes are spread over the splits."""

from typing import NamedTuple

from preprocessing import schema
from preprocessing.dataset_info import DatasetInfo

_MAX_ABSENT_SHOWN = 5


class SplitShare(NamedTuple):
    """A split's share of all examples, and its least and largest share of the examples of one class.

    `absent` are the classes with examples elsewhere and none in this split.
    """

    split: str
    share: float
    least: tuple[float, str]
    most: tuple[float, str]
    absent: tuple[str, ...]

    def __str__(self) -> str:
        (least, least_class), (most, most_class) = self.least, self.most
        by_class = f"{least:.1%} ({least_class}) to {most:.1%} ({most_class}) of a class"
        text = f"{self.split}: {self.share:.1%} of all, {by_class}"
        if not self.absent:
            return text
        shown = ", ".join(self.absent[:_MAX_ABSENT_SHOWN]) + (", ..." if len(self.absent) > _MAX_ABSENT_SHOWN else "")
        return f"{text}; no image of {shown}"


def split_shares(info: DatasetInfo) -> list[SplitShare]:
    """Returns the shares of each split of a dataset; empty when it has one split only."""
    splits = {name: info.splits[name] for name in schema.SPLITS if name in info.splits}
    if len(splits) < 2:
        return []
    class_totals = [sum(counts) for counts in zip(*(split.class_counts for split in splits.values()), strict=True)]
    shares = []
    for name, split in splits.items():
        by_class = [
            (count / total, class_name)
            for count, total, class_name in zip(split.class_counts, class_totals, info.class_names, strict=True)
            if total
        ]
        absent = tuple(class_name for share, class_name in by_class if not share)
        share = split.num_examples / sum(class_totals)
        shares.append(SplitShare(name, share, min(by_class), max(by_class), absent))
    return shares
