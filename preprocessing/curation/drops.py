"""Leaves images out of the dataset because of what was found about them, when the user asks for it."""

import dataclasses
from collections.abc import Iterable

from preprocessing.curation.issues import KINDS, Finding, Issue
from preprocessing.errors import UserError, nearest

DROPPABLE = tuple(issue for issue, kind in KINDS.items() if kind.is_droppable)


@dataclasses.dataclass(frozen=True)
class DropRules:
    """The issues whose images are dropped; raises ValueError for one that is no reason to drop an image."""

    issues: frozenset[Issue] = frozenset()

    def __post_init__(self):
        for issue in self.issues:
            if issue not in DROPPABLE:
                raise ValueError(f"{issue} is no reason to drop an image")

    @classmethod
    def parse(cls, text: str) -> "DropRules":
        """Parses `exact_duplicates,label_conflicts`; UserError for an unknown issue."""
        names = [name.strip() for name in text.split(",") if name.strip()]
        for name in names:
            if name not in DROPPABLE:
                raise UserError(
                    f"cannot drop {name!r}", where="--drop", remedy=nearest(name, DROPPABLE, ", ".join(DROPPABLE))
                )
        return cls(frozenset(Issue(name) for name in names))

    def reason(self, findings: Iterable[Finding]) -> Finding | None:
        """Returns the finding for which an image is dropped, out of all about it; None when it is kept."""
        return min((each for each in findings if each.issue in self.issues), key=_rank, default=None)


def _rank(finding: Finding) -> int:
    return DROPPABLE.index(finding.issue)
