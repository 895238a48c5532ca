"""Charts of the report as inline SVG: no script, no font, no file; colours are those of the style sheet."""

from collections.abc import Sequence

from preprocessing.curation.dataset_summary import NUM_BINS, MeasuredProperty

_WIDTH, _HEIGHT = 240, 72
_AXIS_HEIGHT = 16
_NUM_TICKS = 5


def histogram(measured: MeasuredProperty, counts: Sequence[int]) -> str:
    """Returns the histogram of a property: bars with their range and count as tooltip, and an axis."""
    largest = max(1, *counts)
    bars = "".join(_bar(measured, index, count, count / largest) for index, count in enumerate(counts) if count)
    ticks = "".join(_tick(measured, index) for index in range(_NUM_TICKS))
    box = f"0 0 {_WIDTH} {_HEIGHT + _AXIS_HEIGHT}"
    baseline = f'<line class="axis" x1="0" y1="{_HEIGHT}" x2="{_WIDTH}" y2="{_HEIGHT}"/>'
    return f'<svg viewBox="{box}" role="img" aria-label="{measured.title}">{bars}{baseline}{ticks}</svg>'


def stacked_bar(parts: Sequence[tuple[str, int]]) -> str:
    """Returns one bar of `(css class, size)` parts, as wide as its place."""
    total = max(1, sum(size for _, size in parts))
    widths = ((css_class, 100 * size / total) for css_class, size in parts if size)
    spans = "".join(f'<i class="{css_class}" style="width:{width:.2f}%"></i>' for css_class, width in widths)
    return f'<span class="bar">{spans}</span>'


def _bar(measured: MeasuredProperty, index: int, count: int, share: float) -> str:
    width = _WIDTH / NUM_BINS
    height = max(1.0, share * (_HEIGHT - 2))
    title = f"{_number(measured.edge(index))} to {_number(measured.edge(index + 1))}: {count:,}"
    place = f'x="{index * width + 0.5:.1f}" y="{_HEIGHT - height:.1f}" width="{width - 1:.1f}" height="{height:.1f}"'
    return f"<rect {place}><title>{title}</title></rect>"


def _tick(measured: MeasuredProperty, index: int) -> str:
    place = index / (_NUM_TICKS - 1)
    anchor = {0.0: "start", 1.0: "end"}.get(place, "middle")
    label = _number(measured.edge(place * NUM_BINS))
    return f'<text x="{place * _WIDTH:.0f}" y="{_HEIGHT + 13}" text-anchor="{anchor}">{label}</text>'


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 20 else f"{value:.3g}"
