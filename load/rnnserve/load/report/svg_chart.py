"""Charts of one look, drawn by matplotlib, as SVG elements for an HTML page.

Colours are the style sheet's, so that a chart follows the reader's light or dark theme: matplotlib draws with
placeholders, which `SvgChart.svg` replaces by CSS variables.
"""

import io
import re
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Literal

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

__all__ = ["SvgChart", "TickText", "chart_style"]

TickText = Callable[[float], str]
"""Returns the label of a value on an axis."""

_WIDTH, _HEIGHT = 640, 320
_LEFT, _RIGHT, _TOP, _BOTTOM = 80, 32, 14, 46
_POINTS_PER_INCH = 72
_MAX_LOG_TICKS = 8

_COLOURS = ("c0", "c1", "c2", "c3", "c4", "c5", "card", "soft", "rule", "bad")
"""The colour variables of templates/page.css that charts use."""

_PLACEHOLDERS = {name: f"#{0xABC000 + index:06x}" for index, name in enumerate(_COLOURS)}
"""The colour that matplotlib draws with in place of each variable."""

_SETTINGS: dict[Any, Any] = {
    "svg.fonttype": "none",  # text stays text: readable for screen readers and searches
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
    "xtick.labelcolor": _PLACEHOLDERS["soft"],
    "xtick.labelsize": 12,
    "xtick.major.pad": 8,
    "xtick.major.size": 0,
    "xtick.minor.size": 0,
    "ytick.labelcolor": _PLACEHOLDERS["soft"],
    "ytick.labelsize": 12,
    "ytick.major.pad": 8,
    "ytick.major.size": 0,
    "ytick.minor.size": 0,
}

_SVG = "{http://www.w3.org/2000/svg}"
_HREF = "{http://www.w3.org/1999/xlink}href"


@contextmanager
def chart_style() -> Iterator[None]:
    """Draw in the style of the report, independent of the user's matplotlibrc, inside the `with` block."""
    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update(_SETTINGS)
        yield


class SvgChart:
    """One chart: lines or bars over linear or logarithmic axes. Must be used inside `chart_style`.

    Args:
        title: Words of screen readers for the chart.
        x_title: Title of the horizontal axis.
    """

    def __init__(self, title: str, x_title: str) -> None:
        self._title = title
        self._tooltips: dict[str, str] = {}
        size = (_WIDTH / _POINTS_PER_INCH, _HEIGHT / _POINTS_PER_INCH)
        self._figure = Figure(figsize=size, dpi=_POINTS_PER_INCH)
        self._axes: Axes = self._figure.add_axes(
            (
                _LEFT / _WIDTH,
                _BOTTOM / _HEIGHT,
                (_WIDTH - _LEFT - _RIGHT) / _WIDTH,
                (_HEIGHT - _TOP - _BOTTOM) / _HEIGHT,
            )
        )
        self._axes.set_xlabel(x_title)

    def add_line(self, name: str, x: Sequence[float], y: Sequence[float], colour: str) -> None:
        """Add a line without markers; `name` is its tooltip, `colour` a colour variable."""
        (line,) = self._axes.plot(x, y, color=_PLACEHOLDERS[colour], clip_on=False)
        line.set_gid(self._tooltip_id(name))

    def add_marked_line(self, x: Sequence[float], y: Sequence[float], colour: str, tooltips: Sequence[str]) -> None:
        """Add a line with a marker at each point, and a tooltip for each marker."""
        self._axes.plot(x, y, color=_PLACEHOLDERS[colour], clip_on=False)
        for x_value, y_value, tooltip in zip(x, y, tooltips, strict=True):
            (marker,) = self._axes.plot(
                [x_value],
                [y_value],
                marker="o",
                color=_PLACEHOLDERS[colour],
                markerfacecolor=_PLACEHOLDERS["card"],
                markeredgewidth=2,
                linestyle="none",
                clip_on=False,
            )
            marker.set_gid(self._tooltip_id(tooltip))

    def add_bars(
        self, edges: Sequence[tuple[float, float]], heights: Sequence[float], colour: str, tooltips: Sequence[str]
    ) -> None:
        """Add a bar for each pair of edges, with a tooltip for each bar."""
        bars = self._axes.bar(
            [left for left, _ in edges],
            heights,
            [right - left for left, right in edges],
            align="edge",
            color=_PLACEHOLDERS[colour],
            edgecolor=_PLACEHOLDERS["card"],  # a thin gap between neighbours
            linewidth=1,
            alpha=0.9,
            clip_on=False,
        )
        for bar, tooltip in zip(bars, tooltips, strict=True):
            bar.set_gid(self._tooltip_id(tooltip))

    def add_limit(self, y: float, label: str) -> None:
        """Add a dashed horizontal line with a label."""
        self._axes.axhline(y, color=_PLACEHOLDERS["bad"], linewidth=1.5, linestyle=(0, (3.4, 2.6)))
        self._axes.annotate(
            label,
            (0, y),
            xycoords=self._axes.get_yaxis_transform(),
            xytext=(4, 4),
            textcoords="offset points",
            color=_PLACEHOLDERS["bad"],
            size=12,
        )

    def set_linear_axis(self, axis: Literal["x", "y"], values: Sequence[float], text: TickText) -> None:
        """Let an axis run from 0 to a round number above all values."""
        ticks = list(MaxNLocator(nbins=5, steps=[1, 2, 2.5, 5, 10]).tick_values(0, max(values, default=0) or 1))
        self.set_ticks(axis, [(tick, text(tick)) for tick in ticks], (0, float(ticks[-1])))

    def set_logarithmic_axis(self, axis: Literal["x", "y"], values: Sequence[float], text: TickText) -> None:
        """Let an axis over positive values run between round numbers, with ticks at 1, 2 and 5 times powers of ten."""
        low, high = min(values, default=1.0), max(values, default=1.0)
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
        # Without minor ticks: a logarithmic axis would label some of them.
        self._axes.minorticks_off()
        self._axes.set(
            **{
                f"{axis}ticks": [value for value, _ in ticks],
                f"{axis}ticklabels": [label for _, label in ticks],
                f"{axis}lim": limits,
            }
        )

    def svg(self) -> str:
        """Return the chart as an `<svg>` element."""
        buffer = io.BytesIO()
        # The salt makes ids deterministic, and different in each chart of a page. All metadata are left out.
        with mpl.rc_context({"svg.hashsalt": self._title}):
            metadata = dict.fromkeys(["Creator", "Date", "Format", "Type"])
            self._figure.savefig(buffer, format="svg", metadata=metadata)
        root = ET.fromstring(buffer.getvalue())  # noqa: S314 - matplotlib's own output
        self._adapt(root)
        text = ET.tostring(root, encoding="unicode")
        for name, placeholder in _PLACEHOLDERS.items():
            text = text.replace(placeholder, f"var(--{name})")
        return text

    def _tooltip_id(self, text: str) -> str:
        name = f"tooltip-{len(self._tooltips)}"
        self._tooltips[name] = text
        return name

    def _adapt(self, root: ET.Element) -> None:
        """Turn matplotlib's SVG document into an element of an HTML page.

        Removes namespaces, which HTML does not need; the size and the fonts, which the style sheet sets; and the ids of
        groups, since ids must be unique in a page. Adds the tooltips.
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
        root.attrib = {"viewBox": root.attrib["viewBox"], "role": "img", "aria-label": self._title}
