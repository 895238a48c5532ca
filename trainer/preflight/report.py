"""Verdicts as JSON, and as a page that opens without a network."""

import dataclasses
import html
import json
import string
import types
from collections.abc import Iterable, Sequence

from trainer.preflight import estimate
from trainer.preflight.preflight import CompiledFigures, Verdict, Workload

FORMAT_VERSION = 1
_PREFIXES = types.MappingProxyType({"T": 1e12, "G": 1e9, "M": 1e6, "k": 1e3, "": 1.0, "m": 1e-3, "µ": 1e-6, "n": 1e-9})

_PAGE = string.Template("""<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>Preflight: $title</title>
<style>
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 70rem; padding: 0 1rem; color: #1c2733 }
table { border-collapse: collapse; margin: 0.8rem 0 1.6rem; width: 100% }
.wide { overflow-x: auto }
th, td { border-bottom: 1px solid #d5dde5; padding: 0.3rem 0.6rem; text-align: right }
th:first-child, td:first-child { text-align: left }
.problem { color: #b3261e; text-align: left }
.bar { background: #e4eaf0; height: 1.1rem; display: flex; overflow: hidden }
.bar span { display: block; height: 100% }
.state { background: #355c7d } .batch { background: #6c8ebf }
.temporary { background: #c06c4e } .code { background: #999 }
.key { display: inline-block; height: 0.8em; margin-right: 0.3em; width: 0.8em }
.note { color: #5b6b7b }
</style></head><body>
<h1>Preflight: $title</h1>
<p>$workload</p>
$comparison
<p class="note">$note</p>
$details
</body></html>
""")


def estimate_note() -> str:
    """Returns what the estimated rates rest on."""
    shares = [run.share for run in estimate.published_runs()]
    return (
        f"Rates are estimates: {min(shares):.0%} to {max(shares):.0%} of the roofline, the share that MLPerf's "
        "ResNet-50 runs reached on TPU v2, v3 and v4; elsewhere an extrapolation. Input must keep up."
    )


def to_json(workload: Workload, verdicts: Sequence[Verdict]) -> str:
    """Returns the verdicts as JSON text; bytes, seconds and images per second as the fields of `Verdict` say."""
    document = {
        "format_version": FORMAT_VERSION,
        "workload": workload.name,
        "global_batch_size": workload.global_batch_size,
        "num_examples": workload.num_examples,
        "note": estimate_note(),
        "verdicts": [dataclasses.asdict(verdict) for verdict in verdicts],
    }
    return json.dumps(document, indent=2) + "\n"


def to_html(workload: Workload, verdicts: Sequence[Verdict]) -> str:
    """Returns the verdicts as one HTML page."""
    return _PAGE.substitute(
        title=html.escape(workload.name),
        workload=f"Batch of {workload.global_batch_size:,}; {workload.num_examples:,} images in all.",
        comparison=_comparison(verdicts),
        note=html.escape(estimate_note()),
        details="\n".join(map(_details, verdicts)),
    )


COMPARISON_HEADER = (
    "topology",
    "chips",
    "batch per device",
    "HBM",
    "HBM traffic",
    "arithmetic",
    "bound by",
    "images/s",
    "hours",
    "US dollars",
)


def comparison_row(verdict: Verdict) -> tuple[str, ...]:
    """Returns the cells of one verdict, as `COMPARISON_HEADER` names them."""
    start = (verdict.topology, str(verdict.num_chips), str(verdict.per_replica_batch_size))
    figures = verdict.figures
    if figures is None:
        what = "does not fit" if verdict.is_too_large else "does not compile"
        return (*start, what, *("",) * (len(COMPARISON_HEADER) - len(start) - 1))
    memory = figures.memory
    return (
        *start,
        f"{gibibytes(memory.needed_bytes)} of {gibibytes(memory.available_bytes)}",
        quantity(figures.hbm_traffic_bytes, "B"),
        quantity(figures.flops, "FLOP"),
        figures.bound,
        span(figures.images_per_sec, "{:,.0f}") + short_step_note(figures),
        span(figures.cost.hours, "{:,.2f}"),
        span(figures.cost.dollars, "{:,.2f}") if figures.cost.dollars else "no price",
    )


def short_step_note(figures: CompiledFigures) -> str:
    """Returns what to say of the rate of a step that takes longer to start than to run; empty for others."""
    return "" if figures.is_rate_predictable else " (of little worth: step below 1 ms)"


def span(ends: tuple[float, float], form: str) -> str:
    """Returns `low to high`, each in the given form; one of them where they look the same."""
    return " to ".join(dict.fromkeys(form.format(end) for end in ends))


def quantity(value: float, unit: str) -> str:
    """Returns three figures with a decimal prefix: `12.3 GB`, `15.1 ms`."""
    prefix = next((prefix for prefix, factor in _PREFIXES.items() if abs(value) >= factor), "")
    return f"{value / _PREFIXES[prefix]:#.3g}".rstrip(".") + f" {prefix}{unit}"


def gibibytes(num_bytes: float) -> str:
    """Returns an amount of memory: `2.73 GiB`; `34.1 MiB` or `5.2 KiB` where that would be less than a tenth."""
    if num_bytes >= 2**30 / 10:
        return f"{num_bytes / 2**30:.2f} GiB"
    return f"{num_bytes / 2**10:.1f} KiB" if 0 < num_bytes < 2**20 / 10 else f"{num_bytes / 2**20:.1f} MiB"


def _comparison(verdicts: Sequence[Verdict]) -> str:
    rows = []
    for verdict in verdicts:
        rows.append(_row(comparison_row(verdict)))
        if verdict.problem:
            rows.append(
                f'<tr><td class="problem" colspan="{len(COMPARISON_HEADER)}">{html.escape(verdict.problem)}</td></tr>'
            )
    return f'<div class="wide"><table>{_row(COMPARISON_HEADER, "th")}{"".join(rows)}</table></div>'


def _row(cells: Iterable[str], tag: str = "td") -> str:
    return "<tr>" + "".join(f"<{tag}>{html.escape(cell)}</{tag}>" for cell in cells) + "</tr>"


def _details(verdict: Verdict) -> str:
    figures, found = verdict.figures, verdict.largest_batch
    parts = [_figures(figures)] if figures else []
    if found:
        batch = f"{found.per_replica_batch_size:,} on each device, found in {found.num_compilations} compilation(s)"
        parts.insert(0, f"<p>Largest batch that fits: {batch}.</p>")
    return f"<h2>{html.escape(verdict.topology)}</h2>{''.join(parts)}" if parts else ""


def _figures(figures: CompiledFigures) -> str:
    rows = [
        _row((operation_layer(item.layer, item.is_backward), item.op_name, quantity(item.hbm_bytes, "B")))
        for item in figures.largest_operations
    ]
    least = f"{quantity(figures.roofline_secs, 's')} ({figures.bound})"
    return (
        f"<p>No step takes less than {least}; {figures.flops_per_byte:.0f} FLOP a byte.</p>{_memory_bar(figures)}"
        f'<div class="wide"><table>{_row(("layer", "operation", "through HBM in a step"), "th")}{"".join(rows)}'
        "</table></div>"
    )


def operation_layer(layer: str, is_backward: bool) -> str:
    """Returns a layer's name, marked when the operation is of its backward pass."""
    return f"{layer or '(none)'}{' (backward)' if is_backward else ''}"


def _memory_bar(figures: CompiledFigures) -> str:
    memory = figures.memory
    parts = {
        "state": memory.state_bytes,
        "batch": memory.batch_bytes,
        "temporary": memory.temporary_bytes,
        "code": memory.code_bytes,
    }
    bars = [
        f'<span class="{name}" style="width:{100 * num_bytes / memory.available_bytes:.2f}%"></span>'
        for name, num_bytes in parts.items()
    ]
    words = ", ".join(
        f'<span class="key {name}"></span>{name} {gibibytes(num_bytes)}' for name, num_bytes in parts.items()
    )
    return f'<p>HBM of one device: {words}</p><div class="bar">{"".join(bars)}</div>'
