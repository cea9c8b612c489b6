"""The plots of a report: latency by percentile, by load and as a histogram, errors and lag by load, batch sizes."""

import math
from collections.abc import Callable, Sequence

from rnnserve.client.load.histogram import Histogram
from rnnserve.client.load.judge import Objective
from rnnserve.client.load.plan import Point
from rnnserve.client.load.svg import Axis, Bars, Line, linear, logarithmic, plot
from rnnserve.client.load.units import duration_text, rate_text

__all__ = [
    "batch_sizes",
    "errors_by_load",
    "lag_by_load",
    "latency_by_load",
    "latency_by_percentile",
    "latency_histogram",
]

_BY_LOAD = ((50.0, 0), (90.0, 1), (99.0, 2), (99.9, 3))
_NINES = ((0, "0 %"), (1, "90 %"), (2, "99 %"), (3, "99.9 %"), (4, "99.99 %"), (5, "99.999 %"), (6, "99.9999 %"))
_BARS = 60
_MOST_LINES = 6


def latency_by_percentile(points: Sequence[Point]) -> tuple[str, list[tuple[int, str]]]:
    """Return the plot and its legend, (color, name) of each line, for up to six loads.

    Percentiles are drawn by their nines, as is usual: what happens to one request in a thousand is worth a look.
    """
    chosen = _spread(points)
    lines = []
    deepest = 1.0
    for color, point in enumerate(chosen):
        latency = point.tally.latency
        places = _nines(latency.count)
        deepest = max(deepest, places[-1])
        curve = [(place, float(latency.percentile(100 * (1 - 10**-place)))) for place in places]
        lines.append(Line(point.load.text, curve, color))
    end = math.ceil(deepest)
    x = Axis("percentile", 0, end, tuple((float(place), label) for place, label in _NINES[: end + 1]))
    y = logarithmic("", [height for line in lines for _, height in line.points], _round_duration)
    return plot("latency by percentile", x, y, lines), [(line.color, line.name) for line in lines]


def latency_by_load(points: Sequence[Point], objective: Objective | None) -> tuple[str, list[tuple[int, str]]]:
    """Return the plot and its legend."""
    lines = [_by_load(points, f"p{percent:g}", percent, color, _latency) for percent, color in _BY_LOAD]
    limits = [] if objective is None else [(float(limit), f"p{percent:g} limit") for percent, limit in objective.limits]
    return _durations_by_load("latency by load", points, lines, limits)


def lag_by_load(points: Sequence[Point]) -> tuple[str, list[tuple[int, str]]]:
    """Return the plot, of how late requests were sent, beside the latency that includes it, and its legend."""
    lines = [
        _by_load(points, "latency p99", 99.0, 2, _latency),
        _by_load(points, "send lag p99", 99.0, 4, _lag),
        _by_load(points, "send lag p50", 50.0, 0, _lag),
    ]
    return _durations_by_load("send lag by load", points, lines, [])


def errors_by_load(points: Sequence[Point]) -> tuple[str, list[tuple[int, str]]]:
    """Return the plot, of answers and failures a second, and its legend."""
    ordered = sorted(points, key=lambda point: point.load.size)
    answered = [(point.load.size, point.throughput) for point in ordered]
    failed = [
        (point.load.size, sum(point.tally.errors.values()) / point.seconds if point.seconds else 0.0)
        for point in ordered
    ]
    wrong = [(point.load.size, point.tally.wrong / point.seconds if point.seconds else 0.0) for point in ordered]
    lines = [Line("answers", answered, 0, marked=True), Line("errors", failed, 5, marked=True)]
    if any(height for _, height in wrong):
        lines.append(Line("wrong labels", wrong, 3, marked=True))
    lines = [
        Line(
            line.name, line.points, line.color, marked=True, hints=[f"{up:,.1f} {line.name}/s" for _, up in line.points]
        )
        for line in lines
    ]
    y = linear("", [height for line in lines for _, height in line.points], rate_text)
    svg = plot("answers and errors by load", _load_axis(ordered), y, lines)
    return svg, [(line.color, line.name) for line in lines]


def latency_histogram(latency: Histogram) -> str:
    """Return the plot: how many answers took how long, over bars of equal ratios."""
    # One stray answer in ten thousand would squeeze all the others into a corner.
    low, high = float(max(latency.min, 1)), float(max(latency.percentile(99.95), latency.min + 1))
    x = logarithmic("latency (the slowest 0.05 % are in the last bar)", [low, high], _round_duration)
    ratio = (x.high / x.low) ** (1 / _BARS)
    counts = [0] * _BARS
    for last, count in latency.buckets():
        place = math.log(max(last, x.low) / x.low) / math.log(ratio)
        counts[min(int(place), _BARS - 1)] += count
    edges = [x.low * ratio**index for index in range(_BARS + 1)]
    bars = [(edges[index], edges[index + 1], float(count)) for index, count in enumerate(counts) if count]
    hints = [f"{duration_text(begin)} to {duration_text(end)}: {count:,.0f}" for begin, end, count in bars]
    y = linear("", [count for *_, count in bars], rate_text)
    return plot("histogram of latencies", x, y, [Bars("answers", bars, 0, hints)])


def batch_sizes(batches: dict[int, int]) -> str:
    """Return the plot: how many batches of each size the server ran, neighbours together where there are many sizes."""
    width = math.ceil(max(batches) / _BARS)
    together: dict[int, int] = {}
    for size, count in batches.items():
        first = (size - 1) // width * width + 1
        together[first] = together.get(first, 0) + count
    bars = [(first - 0.5, first + width - 0.5, float(count)) for first, count in sorted(together.items())]
    hints = [
        f"{first} row{'s' if first > 1 else ''}: {count:,}"
        if width == 1
        else f"{first} to {first + width - 1} rows: {count:,}"
        for first, count in sorted(together.items())
    ]
    step = max(1, math.ceil(max(batches) / 8))
    ticks = tuple((float(size), str(size)) for size in range(1, max(batches) + 1, step))
    x = Axis("rows in a batch", 0.5, max(end for _, end, _ in bars), ticks)
    y = linear("", [count for *_, count in bars], rate_text)
    return plot("batch sizes", x, y, [Bars("batches", bars, 1, hints)])


def _latency(point: Point) -> Histogram:
    return point.tally.latency


def _lag(point: Point) -> Histogram:
    return point.tally.lag


def _by_load(points: Sequence[Point], name: str, percent: float, color: int, of: Callable[[Point], Histogram]) -> Line:
    ordered = sorted(points, key=lambda point: point.load.size)
    values = [of(point).percentile(percent) for point in ordered]
    places = [(point.load.size, float(value)) for point, value in zip(ordered, values, strict=True)]
    hints = [f"{name} at {point.load.text}: {duration_text(up)}" for point, up in zip(ordered, values, strict=True)]
    return Line(name, places, color, marked=True, hints=hints)


def _durations_by_load(
    title: str, points: Sequence[Point], lines: Sequence[Line], limits: Sequence[tuple[float, str]]
) -> tuple[str, list[tuple[int, str]]]:
    heights = [height for line in lines for _, height in line.points] + [limit for limit, _ in limits]
    svg = plot(title, _load_axis(points), logarithmic("", heights, _round_duration), lines, limits=limits)
    return svg, [(line.color, line.name) for line in lines]


def _load_axis(points: Sequence[Point]) -> Axis:
    title = "requests in flight" if points[0].load.closed else "requests/s asked for"
    sizes = [point.load.size for point in points]
    if min(sizes) > 0 and max(sizes) / min(sizes) > 20:
        return logarithmic(title, sizes, rate_text)
    return linear(title, sizes, rate_text)


def _nines(count: int) -> list[float]:
    """Return places along the percentiles, by nines, up to the last that `count` values can tell."""
    last = max(1.0, math.log10(max(count, 10)))
    steps = max(20, round(last * 40))
    return [last * index / steps for index in range(steps + 1)]


def _spread(points: Sequence[Point]) -> list[Point]:
    """Return up to six points with answers, spread evenly over the loads, the smallest and the largest among them."""
    ordered = sorted((point for point in points if point.tally.latency.count), key=lambda point: point.load.size)
    if len(ordered) <= _MOST_LINES:
        return ordered
    return [ordered[round(index * (len(ordered) - 1) / (_MOST_LINES - 1))] for index in range(_MOST_LINES)]


def _round_duration(nanoseconds: float) -> str:
    for unit, size in (("s", 1e9), ("ms", 1e6), ("µs", 1e3)):
        if nanoseconds >= size * 0.999:
            return f"{nanoseconds / size:g} {unit}"
    return f"{nanoseconds:g} ns"
