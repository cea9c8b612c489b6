"""The report on growth: a table of each size, its slopes in words, and what was not measured."""

from collections.abc import Mapping, Sequence

from benchmarks.growth.results import Growth
from benchmarks.growth.slopes import describe_slope
from benchmarks.report import describe_lines, format_metric
from benchmarks.server_names import FAST_PATH
from rnnserve.client.aligned_table import format_aligned_table

__all__ = ["failure_lines", "render_growth", "slope_lines"]


def render_growth(found: Sequence[Growth], description: Mapping[str, Mapping[str, str]]) -> str:
    """Write the report as text.

    Args:
        found: The measurement of each size.
        description: Result of `run_description.describe_run`.
    """
    lines = []
    for growth in found:
        rounds = max((len(each) for point in growth.rounds.values() for each in point.values()), default=0)
        lines.append(f"{growth.size.title} ({growth.size.name}; median of {rounds})")
        if growth.points():
            lines += [_table(growth), *slope_lines(growth)]
        lines += [*failure_lines(growth), ""]
    lines += [
        "x: the median over the rounds of the fast path's cost divided by that of its bound in the same round",
        "slopes: between neighbouring points the cost grows as a power of the size; up to 0.15 it is level, from 0.8 "
        "to 1.2 linear",
    ]
    return "\n".join([*lines, *describe_lines(description)]) + "\n"


def slope_lines(growth: Growth) -> list[str]:
    """Say how each plotted cost grows, that of the fast path and that of its bound."""
    lines = []
    for metric in growth.size.metrics:
        for name in (FAST_PATH, growth.size.bound) if metric.is_plotted else ():
            curve = growth.curve(name, metric.name)
            if curve:
                lines.append(f"{metric.name}, {name}: {describe_slope(curve, metric.unit, growth.size.each)}")
    return lines


def failure_lines(growth: Growth) -> list[str]:
    """Say of each point that was not measured why."""
    return [f"NOT MEASURED {growth.size.name} {point:,}: {why}" for point, why in sorted(growth.failures.items())]


def _table(growth: Growth) -> str:
    size, points = growth.size, growth.points()
    header = [size.name]
    columns: list[list[str]] = [[f"{point:,}" for point in points]]
    for metric in size.metrics:
        header.append(metric.name)
        columns.append([format_metric(growth.median(point, FAST_PATH, metric.name)) for point in points])
        if any(growth.median(point, size.bound, metric.name) is not None for point in points):
            header += [size.bound, "x"]
            columns.append([format_metric(growth.median(point, size.bound, metric.name)) for point in points])
            ratios = [growth.ratio(point, metric.name) for point in points]
            columns.append(["-" if ratio is None else f"{ratio:.2f}" for ratio in ratios])
    rows = [list(row) for row in zip(*columns, strict=True)]
    return format_aligned_table(header, rows, text_columns=())
