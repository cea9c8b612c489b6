"""The plot of a size: a panel for each cost, both axes logarithmic, so that a power of the size is a straight line."""

from pathlib import Path

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator

from benchmarks.growth.results import Growth
from benchmarks.growth.sizes import Metric
from benchmarks.server_names import FAST_PATH

__all__ = ["draw_growth"]

_FAST_PATH, _BOUND = "#1f6f8b", "#e3a21f"


def draw_growth(growth: Growth, machine: str, path: Path) -> bool:
    """Draw the medians of the fast path and of its bound as lines, and each round as a dot.

    Args:
        growth: The measurement of a size.
        machine: The hardware, for the title.
        path: The SVG file to write.

    Returns:
        Whether a point was measured; otherwise no file is written.
    """
    metrics = [metric for metric in growth.size.metrics if metric.is_plotted and growth.curve(FAST_PATH, metric.name)]
    if not metrics:
        return False
    figure = Figure(figsize=(max(6.5, 4.2 * len(metrics)), 4.2))
    for index, metric in enumerate(metrics):
        _draw_panel(figure.add_subplot(1, len(metrics), index + 1), growth, metric)
    figure.suptitle(f"{growth.size.title}\n{machine}", fontsize=8)
    figure.tight_layout()
    # A fixed salt and no date, so that equal results give equal bytes.
    with mpl.rc_context({"svg.hashsalt": "rnnserve"}):
        figure.savefig(path, format="svg", metadata={"Date": None})
    return True


def _draw_panel(axes: Axes, growth: Growth, metric: Metric) -> None:
    shown: list[float] = []
    for name, colour, style in ((FAST_PATH, _FAST_PATH, "-"), (growth.size.bound, _BOUND, "--")):
        curve = growth.curve(name, metric.name)
        if not curve:
            continue
        axes.plot(*zip(*curve, strict=True), style, color=colour, label=name)
        rounds = [
            (point, metrics[metric.name])
            for point, by_name in growth.rounds.items()
            for metrics in by_name.get(name, ())
        ]
        axes.plot(*zip(*rounds, strict=True), ".", color=colour, markersize=3)
        shown += [cost for _, cost in rounds]
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    # Twice as far as the costs on either side: a cost that differs by a tenth looks level.
    axes.set_ylim(min(shown) / 2, max(shown) * 2)
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.set_xticks(growth.points(), [f"{point:,}" for point in growth.points()], rotation=45)
    axes.minorticks_off()
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:,.4g}")
    axes.grid(alpha=0.3)
    axes.set_xlabel(growth.size.name, fontsize=8)
    axes.set_title(f"{metric.name}, less is better", fontsize=8)
    axes.tick_params(labelsize=7)
    axes.legend(fontsize=7)
