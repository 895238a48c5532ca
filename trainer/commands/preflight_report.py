"""What `tpu-images preflight` prints."""

from collections.abc import Sequence

from trainer.commands import terminal
from trainer.preflight import report
from trainer.preflight.preflight import CompiledFigures, Memory, Verdict, Workload


def text(workload: Workload, verdicts: Sequence[Verdict]) -> str:
    """Returns the verdicts one by one, and as a table when there are several."""
    blocks = [_verdict(workload, verdict) for verdict in verdicts]
    if len(verdicts) > 1:
        blocks.append(terminal.table(report.COMPARISON_HEADER, map(report.comparison_row, verdicts)))
    return "\n\n".join([*blocks, report.estimate_note()])


def _verdict(workload: Workload, verdict: Verdict) -> str:
    title = (
        f"{workload.name} on {verdict.topology}: {verdict.num_chips} chip(s), {verdict.num_devices} device(s), "
        f"batch {workload.global_batch_size} ({verdict.per_replica_batch_size} on each device)"
    )
    lines = _compiled_lines(workload, verdict.figures) if verdict.figures else [("problem", verdict.problem)]
    if found := verdict.largest_batch:
        answer = f"{found.per_replica_batch_size} on each device fit, found in {found.num_compilations} compilation(s)"
        lines.append(("largest batch", answer))
    body = [f"  {name:<14}{value}" for name, value in lines]
    if verdict.figures:
        body += ["  largest operations, by bytes through HBM:", *_operation_lines(verdict.figures)]
    return "\n".join([title, *body])


def _compiled_lines(workload: Workload, figures: CompiledFigures) -> list[tuple[str, str]]:
    origin = "remembered" if figures.is_from_cache else f"in {terminal.format_duration(figures.compile_secs)}"
    cost = figures.cost
    dollars = f", {report.span(cost.dollars, '{:,.2f}')} US dollars" if cost.dollars else ", no price known"
    return [
        ("compiled", f"yes ({origin})"),
        ("HBM", _memory(figures.memory)),
        ("arithmetic", f"{report.quantity(figures.flops, 'FLOP')} a step on each device"),
        (
            "HBM traffic",
            f"{report.quantity(figures.hbm_traffic_bytes, 'B')} a step on each device; "
            f"{figures.flops_per_byte:.0f} FLOP a byte",
        ),
        ("bound by", f"{figures.bound}: no step takes less than {report.quantity(figures.roofline_secs, 's')}"),
        ("images/s", f"{report.span(figures.images_per_sec, '{:,.0f}')} (estimate{_caveat(figures)})"),
        (
            "training",
            f"{workload.num_examples:,} images: {report.span(cost.hours, '{:,.2f}')} hours{dollars} (estimate)",
        ),
    ]


def _caveat(figures: CompiledFigures) -> str:
    if figures.is_rate_predictable:
        return ""
    return "; of little worth, since starting so short a step takes longer than running it"


def _memory(memory: Memory) -> str:
    parts = {
        "state": memory.state_bytes,
        "batch": memory.batch_bytes,
        "activations and scratch": memory.temporary_bytes,
        "code": memory.code_bytes,
    }
    words = ", ".join(f"{name} {report.gibibytes(num_bytes)}" for name, num_bytes in parts.items())
    return f"{report.gibibytes(memory.needed_bytes)} of {report.gibibytes(memory.available_bytes)}: {words}"


def _operation_lines(figures: CompiledFigures) -> list[str]:
    return [
        f"  {report.quantity(item.hbm_bytes, 'B'):>9}  {report.operation_layer(item.layer, item.is_backward):<40}  "
        f"{item.op_name.rpartition('/')[2] or item.name}"
        for item in figures.largest_operations
    ]
