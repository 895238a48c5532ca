"""`dataset.json`: what a dataset directory holds, and the commit marker that is written last.

Pure values and text: callers read and write the file, since Beam and TensorFlow each bring their own file systems.
"""

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from typing import Any

from preprocessing import schema
from preprocessing.errors import UserError, reason


@dataclasses.dataclass(frozen=True)
class ShardInfo:
    """One TFRecord file: `crc32c` is of the whole file, as 8 hex digits."""

    name: str
    num_examples: int
    num_bytes: int
    crc32c: str


@dataclasses.dataclass(frozen=True)
class SplitInfo:
    """The shards of one split; `class_counts` has one entry per class name, in their order."""

    shards: tuple[ShardInfo, ...]
    class_counts: tuple[int, ...]

    @property
    def num_examples(self) -> int:
        """Examples in all shards."""
        return sum(shard.num_examples for shard in self.shards)

    @property
    def num_bytes(self) -> int:
        """Bytes of all shard files."""
        return sum(shard.num_bytes for shard in self.shards)


@dataclasses.dataclass(frozen=True)
class RowCounts:
    """Where every input row went; raises ValueError unless they add up exactly."""

    rows_in: int
    written: int
    quarantined: int
    dropped: int = 0

    def __post_init__(self):
        if self.rows_in != self.written + self.quarantined + self.dropped:
            raise ValueError(
                f"{self.rows_in} rows in, but {self.written} written + {self.quarantined} quarantined"
                f" + {self.dropped} dropped on request"
            )


@dataclasses.dataclass(frozen=True)
class DatasetInfo:
    """The content of `dataset.json`.

    `label_offset` is what was added to the 0-based class index before it was stored (1 for readers that keep 0 for
    "background"). `options` and `versions` record how the dataset was made; no reader depends on them.
    """

    class_names: tuple[str, ...]
    splits: Mapping[str, SplitInfo]
    counts: RowCounts
    label_offset: int = 0
    options: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    versions: Mapping[str, str] = dataclasses.field(default_factory=dict)

    def __post_init__(self):
        written = sum(split.num_examples for split in self.splits.values())
        if written != self.counts.written:
            raise ValueError(f"the shards hold {written} examples, the counts say {self.counts.written} were written")
        for name, split in self.splits.items():
            if sum(split.class_counts) != split.num_examples or len(split.class_counts) != len(self.class_names):
                raise ValueError(f"the class counts of split {name} do not add up to its {split.num_examples} examples")

    @property
    def num_classes(self) -> int:
        """Number of class names."""
        return len(self.class_names)

    @property
    def fingerprint(self) -> str:
        """Identifies the content: same classes and byte-identical shards give the same 16 hex digits."""
        shards = [
            (name, shard.name, shard.num_bytes, shard.crc32c)
            for name, split in sorted(self.splits.items())
            for shard in split.shards
        ]
        text = json.dumps([list(self.class_names), self.label_offset, shards])
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def split(self, name: str, *, where: str) -> SplitInfo:
        """Returns the split called `name`; UserError names those that exist."""
        if name not in self.splits:
            known = ", ".join(sorted(self.splits)) or "none"
            raise UserError(f"no split called {name!r}", where=where, remedy=f"splits in this dataset: {known}")
        return self.splits[name]

    def to_json(self) -> str:
        """Returns the text of `dataset.json`."""
        fields = {"format_version": schema.FORMAT_VERSION, "fingerprint": self.fingerprint, **dataclasses.asdict(self)}
        fields["splits"] = {
            name: {"num_examples": split.num_examples, **dataclasses.asdict(split)}
            for name, split in sorted(self.splits.items())
        }
        return json.dumps(fields, indent=2, ensure_ascii=False) + "\n"

    @classmethod
    def from_json(cls, text: str | bytes, *, where: str) -> "DatasetInfo":
        """Parses `dataset.json`; UserError (naming the file `where`) when it is damaged or of another version."""
        try:
            fields = json.loads(text)
            version = fields["format_version"]
            if version == schema.FORMAT_VERSION:
                info = cls._from_fields(fields)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise UserError(f"damaged ({reason(error)})", where=where, remedy="convert the images again") from error
        if version != schema.FORMAT_VERSION:
            raise UserError(
                f"written in format {version}, this program reads format {schema.FORMAT_VERSION}",
                where=where,
                remedy="convert the images again with this version",
            )
        if info.fingerprint != fields["fingerprint"]:
            raise UserError("damaged (its fingerprint differs)", where=where, remedy="convert the images again")
        return info

    @classmethod
    def _from_fields(cls, fields: Mapping[str, Any]) -> "DatasetInfo":
        splits = {
            name: SplitInfo(
                shards=tuple(ShardInfo(**shard) for shard in split["shards"]),
                class_counts=tuple(split["class_counts"]),
            )
            for name, split in fields["splits"].items()
        }
        return cls(
            class_names=tuple(fields["class_names"]),
            splits=splits,
            counts=RowCounts(**fields["counts"]),
            label_offset=fields["label_offset"],
            options=fields["options"],
            versions=fields["versions"],
        )
