"""Plots as SVG text: lines and bars over linear or logarithmic axes, with styles left to the page's CSS."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from html import escape

__all__ = ["Axis", "Bars", "Line", "linear", "logarithmic", "plot"]

_WIDTH, _HEIGHT = 640, 320
_LEFT, _RIGHT, _TOP, _BOTTOM = 80, 32, 14, 46
_LABEL_ROOM = 46


@dataclass(frozen=True)
class Axis:
    """One axis.

    Attributes:
        title: What it shows; may be empty where the plot's own heading says it.
        low: The value at its beginning.
        high: The value at its end, above `low`.
        ticks: Values that are marked, with their labels.
        log: Whether ratios, not differences, have equal lengths.
    """

    title: str
    low: float
    high: float
    ticks: tuple[tuple[float, str], ...]
    log: bool = False

    def place(self, value: float) -> float:
        """Return where a value lies: 0 at the beginning, 1 at the end, and never beyond."""
        if self.log:
            value = max(value, self.low)
            share = math.log(value / self.low) / math.log(self.high / self.low)
        else:
            share = (value - self.low) / (self.high - self.low)
        return min(1.0, max(0.0, share))


@dataclass(frozen=True)
class Line:
    """A line through points; `hints` are what a pointer over each point is told."""

    name: str
    points: Sequence[tuple[float, float]]
    color: int = 0
    marked: bool = False
    hints: Sequence[str] = field(default_factory=tuple)


@dataclass(frozen=True)
class Bars:
    """Bars (left end, right end, height), with what a pointer over each is told."""

    name: str
    bars: Sequence[tuple[float, float, float]]
    color: int = 0
    hints: Sequence[str] = field(default_factory=tuple)


def linear(title: str, values: Sequence[float], text: Callable[[float], str], *, low: float | None = 0.0) -> Axis:
    """Return an axis that begins at `low`, or below the smallest value where it is None, and ends at a round number."""
    least = min(values, default=0.0) if low is None else low
    most = max([*values, least])
    step = _round_step((most - least) / 5) if most > least else max(1.0, abs(least) / 5)
    begin = math.floor(least / step) * step
    count = max(1, math.ceil((most - begin) / step - 1e-9))
    ticks = [begin + index * step for index in range(count + 1)]
    return Axis(title, ticks[0], ticks[-1], tuple((tick, text(tick)) for tick in ticks))


def logarithmic(title: str, values: Sequence[float], text: Callable[[float], str]) -> Axis:
    """Return an axis over positive values, from a round number to one, marked at 1, 2 and 5 of each power of ten."""
    positive = [value for value in values if value > 0] or [1.0]
    marks = [
        digit * 10.0**power
        for power in range(math.floor(math.log10(min(positive))), math.ceil(math.log10(max(positive))) + 1)
        for digit in (1, 2, 5)
    ]
    begin = max(mark for mark in marks if mark <= min(positive) * (1 + 1e-9))
    end = min((mark for mark in marks if mark >= max(positive) * (1 - 1e-9) and mark > begin), default=begin * 10)
    inside = [mark for mark in marks if begin <= mark <= end]
    if len(inside) > 8:
        inside = [mark for mark in inside if math.isclose(math.log10(mark), round(math.log10(mark)), abs_tol=1e-9)]
    return Axis(title, begin, end, tuple((mark, text(mark)) for mark in inside), log=True)


def plot(
    title: str, x: Axis, y: Axis, marks: Sequence[Line | Bars], *, limits: Sequence[tuple[float, str]] = ()
) -> str:
    """Return an SVG element.

    Args:
        title: What a reader who cannot see it is told.
        x: The horizontal axis.
        y: The vertical one.
        marks: What is drawn, first to last.
        limits: Heights of dashed lines across the plot, with their labels.
    """
    parts = [
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{escape(title)}">',
        *_grid(x, y),
        *(part for mark in marks for part in (_bars(mark, x, y) if isinstance(mark, Bars) else _line(mark, x, y))),
        *(part for height, label in limits for part in _limit(height, label, y)),
        "</svg>",
    ]
    return "".join(parts)


def _grid(x: Axis, y: Axis) -> list[str]:
    bottom, right = _HEIGHT - _BOTTOM, _WIDTH - _RIGHT
    parts = []
    for value, label in y.ticks:
        height = _y(value, y)
        parts.append(f'<line class="grid" x1="{_LEFT}" x2="{right}" y1="{height}" y2="{height}"/>')
        parts.append(
            f'<text class="tick" x="{_LEFT - 8}" y="{height + 4:.1f}" text-anchor="end">{escape(label)}</text>'
        )
    free = -math.inf
    for value, label in x.ticks:
        place = _x(value, x)
        parts.append(f'<line class="grid" x1="{place}" x2="{place}" y1="{_TOP}" y2="{bottom}"/>')
        if place - free >= _LABEL_ROOM:
            parts.append(
                f'<text class="tick" x="{place}" y="{bottom + 18}" text-anchor="middle">{escape(label)}</text>'
            )
            free = place
    parts.append(f'<line class="axis" x1="{_LEFT}" x2="{right}" y1="{bottom}" y2="{bottom}"/>')
    middle = (_LEFT + right) / 2
    parts.append(f'<text class="title" x="{middle}" y="{_HEIGHT - 8}" text-anchor="middle">{escape(x.title)}</text>')
    upright = f'transform="rotate(-90 14 {(_TOP + bottom) / 2})"'
    parts.append(
        f'<text class="title" x="14" y="{(_TOP + bottom) / 2}" text-anchor="middle" {upright}>{escape(y.title)}</text>'
    )
    return parts


def _line(line: Line, x: Axis, y: Axis) -> list[str]:
    places = [(_x(left, x), _y(up, y)) for left, up in line.points]
    path = " ".join(f"{left},{up}" for left, up in places)
    parts = [f'<polyline class="line c{line.color}" points="{path}"><title>{escape(line.name)}</title></polyline>']
    if line.marked:
        hints = list(line.hints) or [line.name] * len(places)
        parts += [
            f'<circle class="dot c{line.color}" cx="{left}" cy="{up}" r="3.5"><title>{escape(hint)}</title></circle>'
            for (left, up), hint in zip(places, hints, strict=True)
        ]
    return parts


def _bars(bars: Bars, x: Axis, y: Axis) -> list[str]:
    hints = list(bars.hints) or [bars.name] * len(bars.bars)
    bottom, parts = _HEIGHT - _BOTTOM, []
    for (begin, end, value), hint in zip(bars.bars, hints, strict=True):
        left, right, top = _x(begin, x), _x(end, x), _y(value, y)
        # A gap between neighbours, but never so wide that a thin bar vanishes.
        width = max(right - left - 1, 0.6)
        parts.append(
            f'<rect class="bar c{bars.color}" x="{left}" y="{top}" width="{width:.1f}" height="{bottom - top:.1f}">'
            f"<title>{escape(hint)}</title></rect>"
        )
    return parts


def _limit(height: float, label: str, y: Axis) -> list[str]:
    if not y.low <= height <= y.high:
        return []
    place, right = _y(height, y), _WIDTH - _RIGHT
    return [
        f'<line class="limit" x1="{_LEFT}" x2="{right}" y1="{place}" y2="{place}"/>',
        f'<text class="limit" x="{right - 4}" y="{place - 5:.1f}" text-anchor="end">{escape(label)}</text>',
    ]


def _x(value: float, axis: Axis) -> float:
    return round(_LEFT + axis.place(value) * (_WIDTH - _LEFT - _RIGHT), 1)


def _y(value: float, axis: Axis) -> float:
    return round(_HEIGHT - _BOTTOM - axis.place(value) * (_HEIGHT - _TOP - _BOTTOM), 1)


def _round_step(step: float) -> float:
    power = 10.0 ** math.floor(math.log10(step))
    return next(digit * power for digit in (1, 2, 2.5, 5, 10) if digit * power >= step * (1 - 1e-9))
