"""The charts of a report, drawn by matplotlib as SVG elements with a common style.

Colors come from the style sheet, so that a chart follows the reader's light or dark theme. matplotlib draws with
placeholder colors, and `_Chart.svg` replaces them by CSS variables. Equal results give equal charts, byte for byte.
"""

import io
import math
import re
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Literal, NamedTuple

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from rnnserve.load.load_level import LatencyLimit
from rnnserve.load.load_result import LoadResult
from rnnserve.load.load_test import LoadTest
from rnnserve.load.units import format_duration, format_rate

__all__ = ["Chart", "draw_charts"]

_WIDTH, _HEIGHT = 640, 320
_LEFT, _RIGHT, _TOP, _BOTTOM = 80, 32, 14, 46
_POINTS_PER_INCH = 72
_MAX_LOG_TICKS = 8
_MOST_BARS = 60
_NINES = ("0 %", "90 %", "99 %", "99.9 %", "99.99 %", "99.999 %", "99.9999 %")

_LINE_COLORS = ("c0", "c1", "c2", "c3", "c4", "c5")
_PLACEHOLDERS = {
    name: f"#{0xABC000 + at:06x}" for at, name in enumerate((*_LINE_COLORS, "card", "soft", "rule", "bad"))
}
"""The placeholder color for each variable of templates/page.css."""

_OF_AXES = {f"{axis}tick.{name}": value for axis in "xy" for name, value in {
    "labelcolor": _PLACEHOLDERS["soft"], "labelsize": 12, "major.pad": 8, "major.size": 0, "minor.size": 0,
}.items()}  # fmt: skip
_SETTINGS: dict[Any, Any] = {
    **_OF_AXES,
    "svg.fonttype": "none",  # keep text as text, for screen readers and searches
    "axes.axisbelow": True,
    "axes.edgecolor": _PLACEHOLDERS["soft"],
    "axes.facecolor": "none",
    "axes.grid": True,
    "axes.labelcolor": _PLACEHOLDERS["soft"],
    "axes.labelpad": 10,
    "axes.labelsize": 12,
    "axes.linewidth": 1,
    "axes.spines.left": False,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "figure.facecolor": "none",
    "grid.color": _PLACEHOLDERS["rule"],
    "grid.linewidth": 1,
    "lines.linewidth": 2,
    "lines.markersize": 7,
    "lines.solid_joinstyle": "round",
    "text.color": _PLACEHOLDERS["soft"],
}

_SVG = "{http://www.w3.org/2000/svg}"
_HREF = "{http://www.w3.org/1999/xlink}href"

_TickText = Callable[[float], str]
"""Returns the label for a value on an axis."""


class Chart(NamedTuple):
    """A chart of the page: its heading, an `<svg>` element, and (color variable, name) of each line."""

    heading: str
    svg: str
    legend: Sequence[tuple[str, str]] = ()


def draw_charts(test: LoadTest, shown: LoadResult) -> list[Chart]:
    """Draw the charts that the data allow. `shown` is the result whose details are drawn."""
    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update(_SETTINGS)
        return list(_draw(test, shown))


def _draw(test: LoadTest, shown: LoadResult) -> Iterable[Chart]:
    results = sorted(test.pooled, key=lambda result: result.load.size)
    answered = [result for result in results if result.latency.count]
    if answered:
        yield _latency_by_percentile(answered)
    if len(answered) > 1:
        limits = test.objective.limits if test.objective else ()
        colors = {"p50": "c0", "p90": "c1", "p99": "c2", "p99.9": "c3"}
        lines = [
            (name, color, [float(result.latency.percentile(float(name[1:]))) for result in answered])
            for name, color in colors.items()
        ]
        yield _by_load("Latency by load", answered, lines, limits)
    if len(results) > 1:
        yield _answers_by_load(results)
    if len(answered) > 1 and not shown.load.closed:
        lines = [
            ("latency p99", "c2", [float(result.latency.percentile(99)) for result in answered]),
            ("send lag p99", "c4", [float(result.lag.percentile(99)) for result in answered]),
            ("send lag p50", "c0", [float(result.lag.percentile(50)) for result in answered]),
        ]
        yield _by_load("Send lag: the delay that the generator adds", answered, lines)
    if shown.latency.count:
        yield _latency_histogram(shown)
    if shown.batches:
        yield _batch_sizes(shown, shown.batches)


def _latency_by_percentile(results: Sequence[LoadResult]) -> Chart:
    """Draw one line per load over the percentiles, on a scale of nines that makes rare slow requests visible."""
    chart = _Chart("Latency by percentile", "percentile")
    # As many loads as there are colors, evenly spread, including the first and the last.
    chosen = np.linspace(0, len(results) - 1, min(len(results), len(_LINE_COLORS))).round().astype(int).tolist()
    lines = [(results[at], color) for at, color in zip(chosen, _LINE_COLORS, strict=False)]
    heights: list[float] = []
    deepest = 1.0
    for result, color in lines:
        end = math.log10(max(result.latency.count, 10))  # the highest percentile that this number of answers can show
        places = np.linspace(0, end, 120).tolist()  # 2 is 99 %, 3 is 99.9 %
        curve = [max(1.0, result.latency.percentile(100 * (1 - 10**-place))) for place in places]
        chart.add_line(places, curve, color, result.load.text)
        heights += curve
        deepest = max(deepest, end)
    chart.set_ticks("x", list(enumerate(_NINES[: math.ceil(deepest) + 1])), (0, math.ceil(deepest)))
    chart.set_logarithmic_axis("y", heights, _round_duration)
    return chart.done([(color, result.load.text) for result, color in lines])


def _by_load(
    heading: str,
    results: Sequence[LoadResult],
    lines: Sequence[tuple[str, str, list[float]]],
    limits: Sequence[LatencyLimit] = (),
) -> Chart:
    """Draw durations by load: lines (name, color, values), and a dashed line for each limit."""
    chart = _Chart(heading, _load_title(results[0]))
    for name, color, values in lines:
        tooltips = [
            f"{name} at {result.load.text}: {format_duration(value)}"
            for result, value in zip(results, values, strict=True)
        ]
        chart.add_marked_line([result.load.size for result in results], [max(1.0, y) for y in values], color, tooltips)
    for limit in limits:
        chart.add_limit(limit.nanoseconds, f"p{limit.percent:g} limit")
    chart.set_load_axis(results)
    heights = [max(1.0, value) for *_, values in lines for value in values]
    chart.set_logarithmic_axis("y", [*heights, *(float(limit.nanoseconds) for limit in limits)], _round_duration)
    return chart.done([(color, name) for name, color, _ in lines])


def _answers_by_load(results: Sequence[LoadResult]) -> Chart:
    lines = [
        ("answers", "c0", [result.throughput for result in results]),
        ("errors", "c5", [result.per_second(result.statistics.failed) for result in results]),
        ("wrong answers", "c3", [result.per_second(result.statistics.different) for result in results]),
    ]
    lines = [line for line in lines if line[0] != "wrong answers" or any(line[2])]
    chart = _Chart("Answers and errors per second, by load", _load_title(results[0]))
    for name, color, values in lines:
        tooltips = [f"{value:,.1f} {name}/s" for value in values]
        chart.add_marked_line([result.load.size for result in results], values, color, tooltips)
    chart.set_load_axis(results)
    chart.set_linear_axis("y", [value for *_, values in lines for value in values], format_rate)
    return chart.done([(color, name) for name, color, _ in lines])


def _latency_histogram(result: LoadResult) -> Chart:
    """Draw the number of answers by latency. The edges of the bars have equal ratios."""
    latency = result.latency
    # Without this cut, one slow answer in ten thousand would squeeze all others into a corner of the chart.
    low, high = float(max(latency.min, 1)), float(max(latency.percentile(99.95), latency.min + 1, 2))
    edges = np.geomspace(low, high, _MOST_BARS + 1)  # (bars + 1,), nanoseconds
    heights, _ = np.histogram(np.clip(latency.values, edges[0], edges[-1]), edges)  # (bars,)
    bars = [
        (left, right, count, f"{format_duration(left)} to {format_duration(right)}: {count:,}")
        for left, right, count in zip(edges[:-1].tolist(), edges[1:].tolist(), heights.tolist(), strict=True)
    ]
    title = "latency (the last bar includes the slowest 0.05 %)"
    chart = _Chart(f"Answers by latency, at {result.load.text}", title)
    chart.add_bars(bars, "c0")
    chart.set_logarithmic_axis("x", [low, high], _round_duration)
    return chart.done()


def _batch_sizes(result: LoadResult, batches: dict[int, int]) -> Chart:
    """Draw the number of batches by size. If there are many sizes, neighboring sizes share a bar."""
    width = math.ceil(max(batches) / _MOST_BARS)
    edges = np.arange(1, max(batches) + width + 1, width)  # (bars + 1,), rows
    heights, _ = np.histogram(list(batches), edges, weights=list(batches.values()))  # (bars,)
    bars = []
    for first, count in zip(edges[:-1].tolist(), heights.astype(int).tolist(), strict=True):
        rows = f"{first} to {first + width - 1} rows" if width > 1 else f"{first} row{'s' if first > 1 else ''}"
        bars.append((first - 0.5, first + width - 0.5, count, f"{rows}: {count:,}"))
    chart = _Chart(f"Batches by size that the server ran, at {result.load.text}", "rows in a batch")
    chart.add_bars(bars, "c1")
    sizes = range(1, max(batches) + 1, math.ceil(max(batches) / 8))
    chart.set_ticks("x", [(size, str(size)) for size in sizes], (0.5, float(edges[-1]) - 0.5))
    return chart.done()


def _load_title(result: LoadResult) -> str:
    return {"sessions": "sessions", "in flight": "requests in flight"}.get(result.load.unit, "offered requests/s")


def _round_duration(nanoseconds: float) -> str:
    """Return a round duration without unnecessary digits: `"5 ms"`."""
    for unit, size in (("s", 1e9), ("ms", 1e6), ("µs", 1e3)):
        if nanoseconds >= size * 0.999:
            return f"{nanoseconds / size:g} {unit}"
    return f"{nanoseconds:g} ns"


class _Chart:
    """One chart: lines or bars over linear or logarithmic axes."""

    def __init__(self, heading: str, x_title: str) -> None:
        self._heading = heading
        self._tooltips: dict[str, str] = {}
        size = (_WIDTH / _POINTS_PER_INCH, _HEIGHT / _POINTS_PER_INCH)
        self._figure = Figure(figsize=size, dpi=_POINTS_PER_INCH)
        width, height = (_WIDTH - _LEFT - _RIGHT) / _WIDTH, (_HEIGHT - _TOP - _BOTTOM) / _HEIGHT
        self._axes = self._figure.add_axes((_LEFT / _WIDTH, _BOTTOM / _HEIGHT, width, height))
        self._axes.set_xlabel(x_title)

    def add_line(self, x: Sequence[float], y: Sequence[float], color: str, tooltip: str) -> None:
        (line,) = self._axes.plot(x, y, color=_PLACEHOLDERS[color], clip_on=False)
        line.set_gid(self._tooltip_id(tooltip))

    def add_marked_line(self, x: Sequence[float], y: Sequence[float], color: str, tooltips: Sequence[str]) -> None:
        """Add a line with a marker and a tooltip at each point."""
        look: dict[str, Any] = {"color": _PLACEHOLDERS[color], "clip_on": False}
        self._axes.plot(x, y, **look)
        look |= {"markerfacecolor": _PLACEHOLDERS["card"], "markeredgewidth": 2}
        for at, tooltip in enumerate(tooltips):
            (marker,) = self._axes.plot(x[at], y[at], "o", **look)
            marker.set_gid(self._tooltip_id(tooltip))

    def add_bars(self, bars: Sequence[tuple[float, float, int, str]], color: str) -> None:
        """Add bars (left, right, height, tooltip) and their vertical axis."""
        self.set_linear_axis("y", [height for _, _, height, _ in bars], format_rate)
        for left, right, height, tooltip in bars:
            if height:
                (bar,) = self._axes.bar(
                    left,
                    height,
                    right - left,
                    align="edge",
                    color=_PLACEHOLDERS[color],
                    edgecolor=_PLACEHOLDERS["card"],  # a thin gap between adjacent bars
                    linewidth=1,
                    alpha=0.9,
                    clip_on=False,
                )
                bar.set_gid(self._tooltip_id(tooltip))

    def add_limit(self, y: float, label: str) -> None:
        """Add a dashed horizontal line with a label."""
        self._axes.axhline(y, color=_PLACEHOLDERS["bad"], linewidth=1.5, linestyle=(0, (3.4, 2.6)))
        place: Any = {"xycoords": self._axes.get_yaxis_transform(), "textcoords": "offset points"}
        self._axes.annotate(label, (0, y), xytext=(4, 4), color=_PLACEHOLDERS["bad"], size=12, **place)

    def set_load_axis(self, results: Sequence[LoadResult]) -> None:
        """Show the loads on the horizontal axis, on a logarithmic scale if they are far apart."""
        sizes = [result.load.size for result in results]
        is_wide = max(sizes) / min(sizes) > 20
        (self.set_logarithmic_axis if is_wide else self.set_linear_axis)("x", sizes, format_rate)

    def set_linear_axis(self, axis: Literal["x", "y"], values: Sequence[float], text: _TickText) -> None:
        """Make an axis run from 0 to a round number above all values."""
        ticks = list(MaxNLocator(nbins=5, steps=[1, 2, 2.5, 5, 10]).tick_values(0, max(values, default=0) or 1))
        self.set_ticks(axis, [(tick, text(tick)) for tick in ticks], (0, float(ticks[-1])))

    def set_logarithmic_axis(self, axis: Literal["x", "y"], values: Sequence[float], text: _TickText) -> None:
        """Make an axis for positive values run between round numbers, with ticks at 1, 2 and 5 times powers of ten."""
        low, high = min(values), max(values)
        powers = 10.0 ** np.arange(np.floor(np.log10(low)), np.ceil(np.log10(high)) + 2)  # (powers,)
        marks = np.outer(powers, (1, 2, 5)).ravel()  # (powers * 3,), ascending
        begin = marks[marks <= low * (1 + 1e-9)][-1]
        end = marks[(marks >= high * (1 - 1e-9)) & (marks > begin)][0]
        ticks = marks[(marks >= begin) & (marks <= end)]
        if len(ticks) > _MAX_LOG_TICKS:
            ticks = powers[(powers >= begin) & (powers <= end)]
        self._axes.set(**{f"{axis}scale": "log"})
        self.set_ticks(axis, [(tick, text(tick)) for tick in ticks.tolist()], (float(begin), float(end)))

    def set_ticks(
        self, axis: Literal["x", "y"], ticks: Sequence[tuple[float, str]], limits: tuple[float, float]
    ) -> None:
        """Set an axis's limits and its labelled ticks."""
        self._axes.minorticks_off()  # otherwise a logarithmic axis would label some of them
        places, labels = [value for value, _ in ticks], [label for _, label in ticks]
        self._axes.set(**{f"{axis}ticks": places, f"{axis}ticklabels": labels, f"{axis}lim": limits})

    def done(self, legend: Sequence[tuple[str, str]] = ()) -> Chart:
        """Return the chart."""
        buffer = io.BytesIO()
        # The salt makes ids deterministic, and different in each chart of a page. No metadata are written.
        with mpl.rc_context({"svg.hashsalt": self._heading}):
            metadata = dict.fromkeys(["Creator", "Date", "Format", "Type"])
            self._figure.savefig(buffer, format="svg", metadata=metadata)
        root = ET.fromstring(buffer.getvalue())  # noqa: S314 - matplotlib's own output
        self._adapt(root)
        text = ET.tostring(root, encoding="unicode")
        for name, placeholder in _PLACEHOLDERS.items():
            text = text.replace(placeholder, f"var(--{name})")
        return Chart(self._heading, text, legend)

    def _tooltip_id(self, text: str) -> str:
        name = f"tooltip-{len(self._tooltips)}"
        self._tooltips[name] = text
        return name

    def _adapt(self, root: ET.Element) -> None:
        """Turn matplotlib's SVG document into an element of an HTML page, with tooltips.

        Removes namespaces, because HTML does not need them. Removes the size and the fonts, because the style sheet
        sets them. Removes the ids of groups, because ids must be unique in a page.
        """
        for element in root.iter():
            element.tag = element.tag.removeprefix(_SVG)
            element.text, element.tail = (element.text or "").strip() or None, None
            if _HREF in element.attrib:
                element.set("href", element.attrib.pop(_HREF))
            if element.tag == "g":
                name = element.attrib.pop("id", "")
                if name in self._tooltips:
                    element.set("class", "mark")
                    title = ET.Element("title")
                    title.text = self._tooltips[name]
                    element.insert(0, title)
            if element.tag == "text":
                element.set("style", re.sub(r"font[^:;]*:[^;]*(; |$)", "", element.get("style", "")))
        for style in root.findall("defs/style/.."):
            root.remove(style)
        root.attrib = {"viewBox": root.attrib["viewBox"], "role": "img", "aria-label": self._heading}
