"""The plot of the results: a panel for each metric of each scenario."""

import statistics
from collections.abc import Mapping
from pathlib import Path

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.metrics import Rounds
from benchmarks.peers.triton import NOT_MEASURED
from benchmarks.scenarios import SCENARIOS
from benchmarks.server_names import (
    BESIDE_HTTP,
    CONSTANT,
    EAGER,
    FAST_PATH,
    HTTP,
    HTTP_TWO,
    PLAIN,
    SESSION_RUN,
    TWO_WORKERS,
    UNASKED_TOKENS,
    WITH_TOKENS,
)

__all__ = ["draw_plot"]

_RNNSERVE, _OTHERS, _UPPER_LIMIT = "#1f6f8b", "#b8b8b8", "#e3c16f"
_OWN = (FAST_PATH, PLAIN, TWO_WORKERS, BESIDE_HTTP, WITH_TOKENS, UNASKED_TOKENS, HTTP, HTTP_TWO)
_COLOURS = dict.fromkeys(_OWN, _RNNSERVE) | dict.fromkeys((CONSTANT, SESSION_RUN, EAGER), _UPPER_LIMIT)
_COLUMNS = 2


def draw_plot(found: Mapping[str, Rounds], title: str, path: Path) -> bool:
    """Draw a bar for each server's median and a dot for each round, in a panel for each metric.

    Args:
        found: The rounds of each scenario by its name.
        title: Title above all panels.
        path: The SVG file to write.

    Returns:
        Whether there was a scenario to draw; otherwise no file is written.
    """
    panels = [
        (scenario.title, metric, found[scenario.name])
        for scenario in SCENARIOS
        if scenario.name in found
        for metric in scenario.metrics
    ]
    if not panels:
        return False
    rows = -(-len(panels) // _COLUMNS)
    figure = Figure(figsize=(13, 2.9 * rows))
    for index, (heading, metric, rounds) in enumerate(panels):
        _draw_panel(figure.add_subplot(rows, _COLUMNS, index + 1), heading, metric, rounds)
    figure.suptitle(title, fontsize=11)
    figure.text(0.01, 0.005, NOT_MEASURED, fontsize=7, wrap=True)
    figure.tight_layout(rect=(0, 0.03, 1, 0.98))
    # A fixed salt and no date, so that equal results give equal bytes.
    with mpl.rc_context({"svg.hashsalt": "rnnserve"}):
        figure.savefig(path, format="svg", metadata={"Date": None})
    return True


def _draw_panel(axes: Axes, heading: str, metric: str, rounds: Rounds) -> None:
    servers = [server for server, each in rounds.items() if each and all(metric in metrics for metrics in each)]
    values = {server: [metrics[metric] for metrics in rounds[server]] for server in servers}
    medians = [statistics.median(values[server]) for server in servers]
    bars = axes.barh(servers, medians, color=[_COLOURS.get(server, _OTHERS) for server in servers])
    axes.bar_label(bars, [f" {value:,.0f}" if value >= 100 else f" {value:.3g}" for value in medians], fontsize=8)
    for server in servers:
        axes.plot(values[server], [server] * len(values[server]), "k.", markersize=3)
    axes.invert_yaxis()
    axes.margins(x=0.15)
    axes.set_title(f"{heading}\n{metric}, {'more' if metric.endswith('/s') else 'less'} is better", fontsize=8)
    axes.tick_params(labelsize=8)
