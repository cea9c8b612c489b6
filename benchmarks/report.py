"""From figures to a table: medians, ratios, and whether the figures to reach are reached."""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from benchmarks.figures import Rounds, median, ratio
from benchmarks.peers.triton import NOT_MEASURED
from benchmarks.scenarios import SCENARIOS, SOAK, TARGETS, TRITON, TRITON_RAGGED, Target

__all__ = ["Verdict", "judge", "render", "table"]

_TITLES = {scenario.name: scenario.title for scenario in SCENARIOS} | {
    "start": "start to ready, three models",
    "soak": f"{SOAK.requests:,} requests, memory from the first {SOAK.settle:,} on",
}
_METRICS = {scenario.name: scenario.metrics for scenario in SCENARIOS} | {
    "start": ("ready s", "resident MB", "torch files mapped"),
    "soak": ("growth MB", "resident MB", "requests"),
}


@dataclasses.dataclass(frozen=True)
class Verdict:
    """A figure to reach, and what was found."""

    target: Target
    figure: float

    @property
    def is_met(self) -> bool:
        """Whether it is reached."""
        return self.target.is_met(self.figure)


def judge(found: Mapping[str, Rounds]) -> list[Verdict]:
    """Hold what was measured against the figures to reach; what was not measured is left out."""
    verdicts = []
    for target in TARGETS:
        rounds = found.get(target.scenario, {})
        if target.against is None:
            figure = median(rounds, target.server, target.metric)
        else:
            figure = ratio(rounds, target.server, target.against, target.metric)
        if figure is not None:
            verdicts.append(Verdict(target, figure))
    return verdicts


def render(found: Mapping[str, Rounds], about: Mapping[str, Any]) -> str:
    """Write everything as text."""
    lines = []
    for name, rounds in found.items():
        metrics = _METRICS[name]
        count = max((len(figures) for figures in rounds.values()), default=0)
        lines += [f"{_TITLES[name]} ({name}; median of {count})", *_scenario(rounds, metrics), ""]
    verdicts = judge(found)
    if verdicts:
        lines += ["figures to reach", *_verdicts(verdicts), ""]
    if any(not figures for rounds in found.values() for each in rounds.values() for figures in each):
        lines.append("-: saturated: in some round it fell so far behind the rate that perf_analyzer has no figures")
    lines.append("ratios: the median over the rounds of one figure divided by the other's in the same round")
    if any(TRITON in rounds or TRITON_RAGGED in rounds for rounds in found.values()):
        lines.append(NOT_MEASURED)
    for heading in ("hardware", "versions"):
        lines.append(f"{heading}: " + ", ".join(f"{key} {value}" for key, value in about[heading].items()))
    return "\n".join(lines) + "\n"


def table(rows: Sequence[Sequence[str]]) -> list[str]:
    """Align columns: the first to the left, the others to the right."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return [
        "  ".join(
            cell.ljust(width) if column == 0 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]


def _scenario(rounds: Rounds, metrics: Iterable[str]) -> list[str]:
    metrics = tuple(metrics)
    bases = [base for base in (TRITON, TRITON_RAGGED) if rounds.get(base)]
    head = ["server"]
    for metric in metrics:
        head += [metric, *(f"/ {base}" for base in bases)]
    rows = [head]
    for server in rounds:
        row = [server]
        for metric in metrics:
            row.append(_number(median(rounds, server, metric)))
            row += [_times(ratio(rounds, server, base, metric)) for base in bases]
        rows.append(row)
    return table(rows)


def _verdicts(verdicts: Iterable[Verdict]) -> list[str]:
    rows = [["work", "figure", "of", "to reach", "found", "reached"]]
    for verdict in verdicts:
        target = verdict.target
        found = _times(verdict.figure) if target.against else _number(verdict.figure)
        rows.append(
            [target.scenario, target.metric, target.server, str(target), found, "yes" if verdict.is_met else "no"]
        )
    return table(rows)


def _number(value: float | None) -> str:
    if value is None:
        return "-"
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.3f}" if value < 10 else f"{value:.1f}"


def _times(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f} x"
