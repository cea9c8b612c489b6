"""Compares two load tests by their JSON documents: which figures have changed?

Welch's t-test compares the means over the runs. Parts of a single run would not show how much runs vary.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from rnnserve.client import InvalidRequest
from rnnserve.client.aligned_table import format_aligned_table
from rnnserve.load.confidence import Interval, difference_interval
from rnnserve.load.load_result import FIGURES
from rnnserve.load.units import format_duration, format_rate

__all__ = ["Difference", "compare_documents", "format_comparison"]

_MAY_DIFFER = ("seed", "runs", "processes", "no_early_stop", "confidence")
"""Options that change neither which requests are sent nor when."""


@dataclass(frozen=True)
class Difference:
    """One figure of one load in two tests: its means, and the interval of their difference (None without runs)."""

    load: str
    figure: str
    before: float
    after: float
    interval: Interval | None

    @property
    def has_changed(self) -> bool | None:
        """Whether the interval excludes 0, or None without an interval."""
        return None if self.interval is None else not self.interval.low <= 0 <= self.interval.high


def compare_documents(
    before: Mapping[str, Any], after: Mapping[str, Any], confidence: float, names: tuple[str, str]
) -> tuple[list[Difference], list[str]]:
    """Compare each figure of each load in both documents. Returns the differences, and notes on other changes."""
    _require_equal_workloads(before["workload"], after["workload"], names)
    try:
        points = {_load_of(point): point for point in after["points"]}
        pairs = [
            (load, point["runs"], points[load]["runs"])
            for point in before["points"]
            if (load := _load_of(point)) in points
        ]
        differences = [_compare(load, figure, runs, confidence) for load, *runs in pairs for figure in FIGURES]
    except (KeyError, TypeError, AttributeError) as error:
        raise InvalidRequest(f"{names[0]} or {names[1]}: a result lacks {error}; was the file edited?") from error
    if not differences:
        raise InvalidRequest(f"{names[0]} and {names[1]} cannot be compared: no load is in both")
    return differences, _circumstances(before, after)


def format_comparison(differences: Sequence[Difference], notes: Sequence[str], confidence: float) -> str:
    """Return a comparison as text: a table, followed by sentences."""
    rows = []
    for each in differences:
        text = format_rate if each.figure == FIGURES[0] else format_duration
        change, interval = f"{(each.after - each.before) / each.before:+.1%}" if each.before else "-", "-"
        if each.interval is not None and each.before:
            interval = f"{each.interval.low / each.before:+.1%} to {each.interval.high / each.before:+.1%}"
        verdict = {None: "one run", True: "changed", False: "no change shown"}[each.has_changed]
        rows.append((each.load, each.figure, text(each.before), text(each.after), change, interval, verdict))
    heading = f"interval at {100 * confidence:.6g}%"
    lines = [format_aligned_table(("load", "figure", "before", "after", "change", heading, "verdict"), rows), ""]
    if any(each.interval is None for each in differences):
        lines.append("one run does not show how much runs differ: measure both with --runs 5")
    else:
        changed = sum(bool(each.has_changed) for each in differences)
        lines.append(f"{changed} of {len(differences)} figures changed; an interval that contains 0 shows no change")
    return "\n".join([*lines, *notes])


def _require_equal_workloads(before: Mapping[str, Any], after: Mapping[str, Any], names: tuple[str, str]) -> None:
    differing = [
        f"{name} is {_shown(before.get(name))} in {names[0]} and {_shown(after.get(name))} in {names[1]}"
        for name in dict.fromkeys([*before, *after])
        if name not in _MAY_DIFFER and before.get(name) != after.get(name)
    ]
    if differing:
        raise InvalidRequest(f"the workloads differ, so their results cannot be compared: {'; '.join(differing)}")


def _shown(value: object) -> str:
    if isinstance(value, list):
        return ",".join(map(str, value))
    if isinstance(value, dict):
        return " ".join(f"{name}={weight:g}" for name, weight in value.items())
    return "not given" if value is None else str(value)


def _load_of(point: Mapping[str, Any]) -> str:
    for name, text in (("sessions", "sessions"), ("closed", "in flight"), ("rate", "requests/s")):
        if point[name]:
            return f"{format_rate(point[name])} {text}"
    raise KeyError("rate")


def _compare(load: str, figure: str, runs: Sequence[Sequence[Mapping[str, Any]]], confidence: float) -> Difference:
    before, after = ([float(run[figure]) for run in each] for each in runs)
    interval = difference_interval(before, after, confidence) if min(len(before), len(after)) > 1 else None
    return Difference(load, figure, float(np.mean(before)), float(np.mean(after)), interval)


def _circumstances(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """Return which facts other than the workload differ, because they may explain a difference."""
    notes = []
    for part, kind in (("machine", "generator's machine"), ("server", "server")):
        one, other = before.get(part) or {}, after.get(part) or {}
        differing = [
            name for name in dict.fromkeys([*one, *other]) if name != "address" and one.get(name) != other.get(name)
        ]
        notes += [f"{kind}: {name} was {one.get(name)}, then {other.get(name)}" for name in differing]
    return notes
