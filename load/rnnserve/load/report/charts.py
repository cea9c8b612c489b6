"""The charts of a report: latency by percentile and by load, failures and send lag by load, histogram, batch sizes."""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from rnnserve.load.histogram import Histogram
from rnnserve.load.latency_objective import LatencyObjective
from rnnserve.load.load_level import LoadResult
from rnnserve.load.load_test import LoadTest
from rnnserve.load.report.svg_chart import SvgChart, chart_style
from rnnserve.load.units import format_duration, format_rate

__all__ = ["Chart", "draw_charts"]

_PERCENTILES_BY_LOAD = ((50.0, "c0"), (90.0, "c1"), (99.0, "c2"), (99.9, "c3"))
_COLOURS = ("c0", "c1", "c2", "c3", "c4", "c5")
_NINES = ("0 %", "90 %", "99 %", "99.9 %", "99.99 %", "99.999 %", "99.9999 %")
_BARS = 60


@dataclass(frozen=True)
class Chart:
    """A chart of the page.

    Attributes:
        heading: The heading above the chart.
        svg: The chart, an `<svg>` element.
        legend: (colour variable, name) of each line; empty if the heading says enough.
    """

    heading: str
    svg: str
    legend: Sequence[tuple[str, str]] = ()


def draw_charts(test: LoadTest, shown: LoadResult) -> list[Chart]:
    """Draw the charts for which there are data; `shown` is the result whose details are shown.

    The same results give the same charts, byte for byte.
    """
    with chart_style():
        return list(_draw(test, shown))


def _draw(test: LoadTest, shown: LoadResult) -> Iterable[Chart]:
    results = sorted(test.pooled, key=lambda result: result.load.size)
    answered = [result for result in results if result.statistics.latency.count]
    if answered:
        yield _latency_by_percentile(answered)
    if len(answered) > 1:
        yield _latency_by_load(answered, test.objective)
    if len(results) > 1:
        yield _answers_by_load(results)
    if len(answered) > 1 and not shown.load.closed:
        yield _lag_by_load(answered)
    if shown.statistics.latency.count:
        yield _latency_histogram(shown)
    if shown.batches:
        yield _batch_sizes(shown, shown.batches)


def _latency_by_percentile(results: Sequence[LoadResult]) -> Chart:
    """Draw one line per load, over percentiles on a scale of nines: one request in a thousand matters too."""
    chart = SvgChart("Latency by percentile", "percentile")
    lines = list(zip(_spread(results, len(_COLOURS)), _COLOURS, strict=False))
    heights: list[float] = []
    deepest = 1.0
    for result, colour in lines:
        latency = result.statistics.latency
        # Up to the last percentile that the number of answers can show.
        deepest = max(deepest, math.log10(max(latency.count, 10)))
        places = np.linspace(0, math.log10(max(latency.count, 10)), 120)  # (points,): 2 is 99 %, 3 is 99.9 %
        curve = [_drawn(latency.percentile(100 * (1 - 10**-place))) for place in places.tolist()]
        chart.add_line(result.load.text, places.tolist(), curve, colour)
        heights += curve
    ticks = [(float(nines), label) for nines, label in enumerate(_NINES[: math.ceil(deepest) + 1])]
    chart.set_ticks("x", ticks, (0, math.ceil(deepest)))
    chart.set_logarithmic_axis("y", heights, _round_duration)
    return Chart("Latency by percentile", chart.svg(), [(colour, result.load.text) for result, colour in lines])


def _latency_by_load(results: Sequence[LoadResult], objective: LatencyObjective | None) -> Chart:
    lines = [(f"p{percent:g}", colour, _latency, percent) for percent, colour in _PERCENTILES_BY_LOAD]
    return _durations_by_load("Latency by load", results, lines, objective.limits if objective else ())


def _lag_by_load(results: Sequence[LoadResult]) -> Chart:
    lines = [
        ("latency p99", "c2", _latency, 99.0),
        ("send lag p99", "c4", _lag, 99.0),
        ("send lag p50", "c0", _lag, 50.0),
    ]
    return _durations_by_load("Send lag: the delay that the generator adds", results, lines, ())


def _durations_by_load(
    heading: str,
    results: Sequence[LoadResult],
    lines: Sequence[tuple[str, str, Callable[[LoadResult], Histogram], float]],
    limits: Sequence[tuple[float, int]],
) -> Chart:
    """Draw lines (name, colour, histogram of a result, percent), and a dashed line for each limit."""
    sizes = [result.load.size for result in results]
    chart = SvgChart(heading, _load_title(results[0]))
    heights = [float(limit) for _, limit in limits]
    for name, colour, histogram_of, percent in lines:
        values = [histogram_of(result).percentile(percent) for result in results]
        tooltips = [
            f"{name} at {result.load.text}: {format_duration(value)}"
            for result, value in zip(results, values, strict=True)
        ]
        curve = [_drawn(value) for value in values]
        chart.add_marked_line(sizes, curve, colour, tooltips)
        heights += curve
    for percent, limit in limits:
        chart.add_limit(float(limit), f"p{percent:g} limit")
    _set_load_axis(chart, sizes)
    chart.set_logarithmic_axis("y", heights, _round_duration)
    return Chart(heading, chart.svg(), [(colour, name) for name, colour, *_ in lines])


def _answers_by_load(results: Sequence[LoadResult]) -> Chart:
    lines = [
        ("answers", "c0", [result.throughput for result in results]),
        ("errors", "c5", [result.failures_per_second for result in results]),
    ]
    wrong = [result.faults_per_second for result in results]
    if any(wrong):
        lines.append(("wrong answers", "c3", wrong))
    sizes = [result.load.size for result in results]
    heading = "Answers and errors per second, by load"
    chart = SvgChart(heading, _load_title(results[0]))
    for name, colour, values in lines:
        chart.add_marked_line(sizes, values, colour, [f"{value:,.1f} {name}/s" for value in values])
    _set_load_axis(chart, sizes)
    chart.set_linear_axis("y", [value for *_, values in lines for value in values], format_rate)
    return Chart(heading, chart.svg(), [(colour, name) for name, colour, _ in lines])


def _latency_histogram(result: LoadResult) -> Chart:
    """Draw the number of answers by latency, in bars whose edges have equal ratios."""
    latency = result.statistics.latency
    # Without the cut, one slow answer in ten thousand would leave a corner of the chart for all others.
    low, high = float(max(latency.min, 1)), float(max(latency.percentile(99.95), latency.min + 1, 2))
    edges = np.geomspace(low, high, _BARS + 1)  # (bars + 1,), nanoseconds
    values, counts = np.array(latency.buckets()).T  # (buckets,) each
    heights, _ = np.histogram(np.clip(values, edges[0], edges[-1]), edges, weights=counts)  # (bars,)
    bars = [
        (left, right, height)
        for left, right, height in zip(edges[:-1].tolist(), edges[1:].tolist(), heights.tolist(), strict=True)
        if height
    ]
    heading = f"Answers by latency, at {result.load.text}"
    chart = SvgChart(heading, "latency (the last bar includes the slowest 0.05 %)")
    chart.add_bars(
        [(left, right) for left, right, _ in bars],
        [height for *_, height in bars],
        "c0",
        [f"{format_duration(left)} to {format_duration(right)}: {height:,.0f}" for left, right, height in bars],
    )
    chart.set_logarithmic_axis("x", [low, high], _round_duration)
    chart.set_linear_axis("y", heights.tolist(), format_rate)
    return Chart(heading, chart.svg())


def _batch_sizes(result: LoadResult, batches: dict[int, int]) -> Chart:
    """Draw the number of batches by size; neighbouring sizes share a bar if there are many sizes."""
    width = math.ceil(max(batches) / _BARS)
    edges = np.arange(1, max(batches) + width + 1, width)  # (bars + 1,), rows
    heights, _ = np.histogram(list(batches), edges, weights=list(batches.values()))  # (bars,)
    bars = [(first, int(height)) for first, height in zip(edges[:-1].tolist(), heights.tolist(), strict=True) if height]
    heading = f"Batches by size that the server ran, at {result.load.text}"
    chart = SvgChart(heading, "rows in a batch")
    chart.add_bars(
        [(first - 0.5, first + width - 0.5) for first, _ in bars],
        [height for _, height in bars],
        "c1",
        [f"{_rows_text(first, first + width - 1)}: {height:,}" for first, height in bars],
    )
    sizes = range(1, max(batches) + 1, math.ceil(max(batches) / 8))
    chart.set_ticks("x", [(size, str(size)) for size in sizes], (0.5, float(edges[-1]) - 0.5))
    chart.set_linear_axis("y", heights.tolist(), format_rate)
    return Chart(heading, chart.svg())


def _rows_text(first: int, last: int) -> str:
    if first < last:
        return f"{first} to {last} rows"
    return "1 row" if first == 1 else f"{first} rows"


def _latency(result: LoadResult) -> Histogram:
    return result.statistics.latency


def _lag(result: LoadResult) -> Histogram:
    return result.statistics.lag


def _drawn(nanoseconds: float) -> float:
    """Return a duration for a logarithmic axis, which has no place for 0."""
    return max(float(nanoseconds), 1.0)


def _load_title(result: LoadResult) -> str:
    if result.load.sessions:
        return "sessions"
    return "requests in flight" if result.load.closed else "offered requests/s"


def _set_load_axis(chart: SvgChart, sizes: Sequence[float]) -> None:
    if max(sizes) / min(sizes) > 20:
        chart.set_logarithmic_axis("x", sizes, format_rate)
    else:
        chart.set_linear_axis("x", sizes, format_rate)


def _spread(results: Sequence[LoadResult], most: int) -> Sequence[LoadResult]:
    """Return up to `most` results, evenly spread over the loads, with the first and the last."""
    if len(results) <= most:
        return results
    return [results[index] for index in np.linspace(0, len(results) - 1, most).round().astype(int).tolist()]


def _round_duration(nanoseconds: float) -> str:
    """Return a round duration without needless digits: `"5 ms"`."""
    for unit, size in (("s", 1e9), ("ms", 1e6), ("µs", 1e3)):
        if nanoseconds >= size * 0.999:
            return f"{nanoseconds / size:g} {unit}"
    return f"{nanoseconds:g} ns"
