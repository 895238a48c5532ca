"""What a conversion says at its end: rows by split and class, what was quarantined, how fast, and where it lies."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from preprocessing import schema, storage, stratification
from preprocessing.dataset_info import DatasetInfo, RowCounts

if TYPE_CHECKING:  # it loads Beam
    from preprocessing.conversion import Conversion

_MAX_CLASSES_SHOWN = 20
_MAX_EMPTY_SHOWN = 5


def values(finished: "Conversion", output: str) -> dict[str, Any]:
    """Returns the summary as JSON values."""
    counts, results = finished.info.counts, finished.results
    return {
        "output": output,
        "rows_in": counts.rows_in,
        "written": counts.written,
        "quarantined": counts.quarantined,
        "dropped": counts.dropped,
        "quarantined_by_reason": results.quarantined if results else {},
        "moved_by_reason": results.moved if results else {},
        "dropped_by_reason": results.dropped if results else {},
        "splits": {name: split.num_examples for name, split in finished.info.splits.items()},
        "elapsed_secs": finished.elapsed_secs,
        "images_per_sec": counts.written / finished.elapsed_secs if finished.elapsed_secs else 0.0,
        "was_already_there": finished.results is None,
    }


def describe(finished: "Conversion", output: str) -> str:
    """Returns the summary as text for people."""
    counts = finished.info.counts
    lines = [split_table(finished.info), "", *map(str, stratification.split_shares(finished.info))]
    lines += empty_classes(finished.info)
    if finished.results:
        lines += _reasons("quarantined", finished.results.quarantined, schema.QUARANTINE_FILE)
        lines += _reasons("moved", finished.results.moved, schema.CHANGES_FILE)
        lines += _reasons("dropped", finished.results.dropped, schema.CHANGES_FILE)
        rate = counts.written / finished.elapsed_secs
        lines += [row_counts(counts), f"{finished.elapsed_secs:,.1f} s, {rate:,.0f} images/s"]
    else:
        again = "already there, made with the same options and classes; --overwrite converts the images again"
        lines += [row_counts(counts), again]
    lines.append(f"dataset: {output}")
    if finished.info.options.get("curation"):
        lines.append(f"report: {storage.join(output, schema.REPORT_HTML_FILE)}")
    return "\n".join(lines)


def _reasons(what: str, counts: Mapping[str, int], file_name: str) -> list[str]:
    return [f"{what}: {number:,} {reason} (listed in {file_name})" for reason, number in counts.items()]


def empty_classes(info: DatasetInfo) -> list[str]:
    """Returns the line that names classes without any image; nothing when there is none."""
    counts = zip(info.class_names, *(split.class_counts for split in info.splits.values()), strict=True)
    names = [name for name, *by_split in counts if not any(by_split)]
    more = ", ..." if len(names) > _MAX_EMPTY_SHOWN else ""
    return [f"no image at all of {', '.join(names[:_MAX_EMPTY_SHOWN])}{more}"] if names else []


def row_counts(counts: RowCounts) -> str:
    """Returns the line that says where every row went."""
    return (
        f"{counts.rows_in:,} rows = {counts.written:,} written + {counts.quarantined:,} quarantined"
        f" + {counts.dropped:,} dropped"
    )


def split_table(info: DatasetInfo) -> str:
    """Returns a table of the examples by class and split."""
    names = [name for name in schema.SPLITS if name in info.splits]
    shown = info.class_names[:_MAX_CLASSES_SHOWN]
    width = max(map(len, ("class", *shown)))
    lines = [f"{'class':<{width}}" + "".join(f"{name:>12}" for name in names)]
    for index, class_name in enumerate(shown):
        cells = (f"{info.splits[name].class_counts[index]:>12,}" for name in names)
        lines.append(f"{class_name:<{width}}" + "".join(cells))
    if info.num_classes > len(shown):
        lines.append(f"... and {info.num_classes - len(shown):,} classes more")
    lines.append(f"{'all':<{width}}" + "".join(f"{info.splits[name].num_examples:>12,}" for name in names))
    return "\n".join(lines)
