"""Comparison of two load tests, from their JSON documents: which differences are more than noise.

Each load of a test gives several values of each figure: one of each run, if both tests have two runs or more, else
one of each of the eight equal parts of the time of its only run. Welch's t-test says whether the means of the two
tests differ, with the confidence divided among all figures that are compared (Bonferroni): if nothing has changed,
all differences are called noise with at least this confidence. Means of parts are used, not single requests, since
requests that follow one another are not independent (the method of batch means).
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rnnserve.client import InvalidRequest
from rnnserve.client.aligned_table import format_aligned_table
from rnnserve.load.distributions import student_quantile
from rnnserve.load.repetition import FIGURES
from rnnserve.load.units import format_confidence, format_duration, format_rate

__all__ = ["Comparison", "Difference", "compare_documents", "format_comparison"]

_MAY_DIFFER = ("seed", "runs", "processes", "early_stop", "confidence")
"""Options that do not change what is measured: neither what is sent nor when."""

_FEWEST = {"mean": 10, "p50": 10, "p90": 20, "p99": 200}
"""Requests from which a run or a part gives a latency: fewer would give the maximum, or chance."""


@dataclass(frozen=True)
class Difference:
    """One figure of one load, in two tests.

    Attributes:
        load: The load, as text.
        figure: One of `FIGURES`.
        before: Mean in the first test.
        after: Mean in the second test.
        margin: Largest difference between the means that may be noise.
    """

    load: str
    figure: str
    before: float
    after: float
    margin: float

    @property
    def is_noise(self) -> bool:
        """Whether the difference may be noise."""
        return abs(self.after - self.before) <= self.margin


@dataclass(frozen=True)
class Comparison:
    """Two load tests, compared.

    Attributes:
        differences: Each figure of each load that both have.
        notes: What else a reader should see, one sentence each.
        confidence: If nothing has changed, the probability that every difference is called noise.
    """

    differences: Sequence[Difference]
    notes: Sequence[str]
    confidence: float


@dataclass(frozen=True)
class _Pair:
    """The values of one figure of one load, in the first and the second test."""

    load: str
    figure: str
    before: Sequence[float]
    after: Sequence[float]


def compare_documents(
    before: Mapping[str, Any], after: Mapping[str, Any], confidence: float, names: tuple[str, str]
) -> Comparison:
    """Compare two documents of `build_results_document`.

    Args:
        before: The first document.
        after: The second document.
        confidence: Confidence of the intervals; see `Comparison`.
        names: Names of the two, for errors and notes.

    Raises:
        InvalidRequest: A document is of another kind, the workloads differ, or there is nothing to compare.
    """
    for document, name in zip((before, after), names, strict=True):
        if not isinstance(document.get("workload"), dict) or not isinstance(document.get("points"), list):
            raise InvalidRequest(
                f"{name}: holds no workload with its results; `rnnserve load --json` writes such files"
            )
    _require_equal_workloads(before["workload"], after["workload"], names)
    pairs: list[_Pair] = []
    notes: list[str] = []
    try:
        points = {_load_of(point): point for point in after["points"]}
        for point in before["points"]:
            load = _load_of(point)
            if load in points:
                found, said = _pairs_of(load, point, points[load])
                pairs += found
                notes += said
    except (KeyError, TypeError, AttributeError) as error:
        raise InvalidRequest(f"{names[0]} or {names[1]}: a result lacks {error}; was the file edited?") from error
    if not pairs:
        reason = "; ".join(notes) or "no load is in both"
        raise InvalidRequest(f"{names[0]} and {names[1]} cannot be compared: {reason}")
    risk = (1 - confidence) / len(pairs)
    notes += _circumstances(before, after)
    return Comparison([_difference(pair, risk) for pair in pairs], notes, confidence)


def format_comparison(comparison: Comparison) -> str:
    """Return a comparison as text: a table, and sentences after it."""
    rows = []
    for one in comparison.differences:
        text = format_rate if one.figure == "answers/s" else format_duration
        change = f"{(one.after - one.before) / one.before:+.1%}" if one.before else "-"
        margin = f"±{one.margin / one.before:.1%}" if one.before else "-"
        verdict = "noise" if one.is_noise else "more than noise"
        rows.append((one.load, one.figure, text(one.before), text(one.after), change, margin, verdict))
    table = format_aligned_table(("load", "figure", "before", "after", "change", "noise", "verdict"), rows)
    changed = sum(not one.is_noise for one in comparison.differences)
    summary = (
        f"{changed} of {len(comparison.differences)} differences are more than noise "
        f"({format_confidence(comparison.confidence)} for all of them together)"
    )
    return "\n".join([table, "", summary, *comparison.notes])


def _require_equal_workloads(before: Mapping[str, Any], after: Mapping[str, Any], names: tuple[str, str]) -> None:
    differing = [
        f"{name} is {_shown(before.get(name))} in {names[0]} and {_shown(after.get(name))} in {names[1]}"
        for name in dict.fromkeys([*before, *after])
        if name not in _MAY_DIFFER and before.get(name) != after.get(name)
    ]
    if differing:
        raise InvalidRequest(f"the workloads differ, so that their results do not compare: {'; '.join(differing)}")


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


def _pairs_of(load: str, before: Mapping[str, Any], after: Mapping[str, Any]) -> tuple[list[_Pair], list[str]]:
    """Return the values of each figure of one load, and what was left out."""
    runs = before["runs"], after["runs"]
    are_runs = min(map(len, runs)) >= 2
    samples = runs if are_runs else (runs[0][0]["parts"], runs[1][0]["parts"])
    notes = (
        [] if are_runs else [f"{load}: by parts of one run each, which do not show how much runs differ; use --runs 5"]
    )
    pairs = []
    for figure in FIGURES:
        fewest = _FEWEST.get(figure, 0)
        least = min(sample["requests"] for side in samples for sample in side)
        if least < fewest:
            notes.append(f"{load}: {figure} is left out: {least} requests in a part are too few, it takes {fewest}")
            continue
        pairs.append(_Pair(load, figure, *([float(sample[figure]) for sample in side] for side in samples)))
    return pairs, notes


def _difference(pair: _Pair, risk: float) -> Difference:
    """Return a difference with its margin, by Welch's t-test with a two-sided risk."""
    (before, spread_before), (after, spread_after) = _mean_and_spread(pair.before), _mean_and_spread(pair.after)
    spread = spread_before + spread_after
    if not spread:
        return Difference(pair.load, pair.figure, before, after, 0.0)
    degrees = spread**2 / (spread_before**2 / (len(pair.before) - 1) + spread_after**2 / (len(pair.after) - 1))
    margin = student_quantile(1 - risk / 2, degrees) * math.sqrt(spread)
    return Difference(pair.load, pair.figure, before, after, margin)


def _mean_and_spread(values: Sequence[float]) -> tuple[float, float]:
    """Return the mean, and the variance of the mean."""
    mean = math.fsum(values) / len(values)
    return mean, math.fsum((value - mean) ** 2 for value in values) / (len(values) - 1) / len(values)


def _circumstances(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """Say which facts beside the workload differ: they may be the reason for a difference."""
    notes = []
    for part, kind in (("machine", "generator's machine"), ("server", "server")):
        one, other = before.get(part) or {}, after.get(part) or {}
        differing = [
            name for name in dict.fromkeys([*one, *other]) if name != "address" and one.get(name) != other.get(name)
        ]
        notes += [f"{kind}: {name} was {one.get(name)}, then {other.get(name)}" for name in differing]
    for name in ("seed", "processes"):
        one, other = before["workload"].get(name), after["workload"].get(name)
        notes += [f"{name}: {one}, then {other}"] if one != other else []
    return notes
