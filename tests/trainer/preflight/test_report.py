import dataclasses
import json

import pytest

from trainer.preflight import preflight, report
from trainer.preflight.batch_search import LargestBatch


def figures():
    memory = preflight.Memory(
        state_bytes=2**30, batch_bytes=2**28, temporary_bytes=2**31, code_bytes=2**26, available_bytes=2**34
    )
    return preflight.CompiledFigures(
        memory=memory,
        flops=3e12,
        hbm_traffic_bytes=12_300_000_000,
        bound="HBM bandwidth",
        roofline_secs=0.0151,
        images_per_sec=(2300.0, 2700.0),
        cost=preflight.Cost(hours=(1.5, 2.0), dollars=(10.0, 12.5)),
        largest_operations=(
            preflight.Operation("stem<1>", True, "gradients/stem<1>/Conv2D_grad/x", "fusion.1", 10**8),
        ),
        compile_secs=12.0,
        is_from_cache=False,
    )


VERDICTS = [
    preflight.Verdict("v5e:1x1", 1, 1, 64, figures=figures(), largest_batch=LargestBatch(320, 4)),
    preflight.Verdict("v2:1x1", 1, 2, 32, problem="v2:1x1: does not fit: <too much>", is_too_large=True),
    preflight.Verdict("v3:1x1", 1, 2, 32, problem="v3:1x1: the TPU compiler refuses the program"),
]


def test_json_holds_every_figure(workload):
    document = json.loads(report.to_json(workload, VERDICTS))
    assert (document["workload"], document["global_batch_size"]) == ("small", 64)
    compiled, refused, _ = document["verdicts"]
    assert compiled["figures"]["memory"]["state_bytes"] == 2**30
    assert compiled["figures"]["images_per_sec"] == [2300.0, 2700.0]
    assert compiled["largest_batch"] == {"per_replica_batch_size": 320, "num_compilations": 4}
    assert refused["figures"] is None
    assert "does not fit" in refused["problem"]


def test_the_page_stands_alone_and_escapes_what_it_shows(workload):
    page = report.to_html(workload, VERDICTS)
    assert "stem&lt;1&gt; (backward)" in page
    assert "&lt;too much&gt;" in page
    assert "Largest batch that fits: 320 on each device, found in 4 compilation(s)" in page
    assert "No step takes less than 15.1 ms (HBM bandwidth); 244 FLOP a byte." in page
    assert '<span class="key state"></span>state 1.00 GiB' in page, "the colours of the bar are told"
    assert "http" not in page
    assert "src=" not in page


def test_a_row_has_a_cell_for_every_heading():
    for verdict in VERDICTS:
        assert len(report.comparison_row(verdict)) == len(report.COMPARISON_HEADER)


def test_a_row_tells_what_does_not_fit_from_what_does_not_compile():
    assert [report.comparison_row(verdict)[3] for verdict in VERDICTS] == [
        "3.31 GiB of 16.00 GiB",
        "does not fit",
        "does not compile",
    ]


def test_the_rate_of_a_step_that_is_too_short_is_marked():
    assert report.short_step_note(figures()) == ""
    assert "of little worth" in report.short_step_note(dataclasses.replace(figures(), roofline_secs=9e-4))


def test_amounts_of_memory_and_spans_of_small_numbers():
    amounts = [report.gibibytes(value) for value in (2**31, 3 * 2**20, 5 * 2**10, 0)]
    assert amounts == ["2.00 GiB", "3.0 MiB", "5.0 KiB", "0.0 MiB"]
    assert report.span((0.001, 0.002), "{:.2f}") == "0.00"
    assert report.span((0.1, 0.2), "{:.2f}") == "0.10 to 0.20"


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (12_316_222_122, "B", "12.3 GB"),
        (0.0151, "s", "15.1 ms"),
        (145e-9, "s", "145 ns"),
        (131e6, "B", "131 MB"),
        (0, "B", "0.00 B"),
        (1.54e12, "FLOP", "1.54 TFLOP"),
    ],
)
def test_quantity(value, unit, text):
    assert report.quantity(value, unit) == text
