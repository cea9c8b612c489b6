"""Draws bench.json: `python benchmarks/plot.py bench.json bench.svg`, in the benchmark's own environment.

A program of its own that imports nothing of this package, since matplotlib is not in the project's environment.
"""

import json
import statistics
import sys
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("svg")
mpl.rcParams["svg.hashsalt"] = "rnnserve"
from matplotlib import pyplot as plt  # noqa: E402 - behind the choice of backend

__all__ = ["draw"]

_OURS, _OTHERS, _CEILING = "#1f6f8b", "#b8b8b8", "#e3c16f"


def draw(results: dict[str, Any], target: Path) -> None:
    """Draw a bar a server, its rounds as dots, a panel for each figure of each scenario."""
    panels = [
        (scenario["title"], metric, scenario["rounds"])
        for scenario in results["scenarios"].values()
        if scenario["compared"]
        for metric in scenario["metrics"]
    ]
    if not panels:
        return
    columns = 2
    rows = -(-len(panels) // columns)
    figure, axes = plt.subplots(rows, columns, figsize=(13, 2.9 * rows), squeeze=False)
    for axis in axes.flat[len(panels) :]:
        axis.set_visible(False)
    for axis, (title, metric, rounds) in zip(axes.flat, panels, strict=False):
        _panel(axis, title, metric, rounds)
    hardware = results["hardware"]
    figure.suptitle(
        f"rnnserve side by side: {hardware['processor']}, {hardware['cores']} cores, {results['when']}", fontsize=11
    )
    figure.text(0.01, 0.005, results["note"], fontsize=7, wrap=True)
    figure.tight_layout(rect=(0, 0.03, 1, 0.98))
    figure.savefig(target, metadata={"Date": None})


def _panel(axis: Any, title: str, metric: str, rounds: dict[str, list[dict[str, float]]]) -> None:  # noqa: ANN401 - matplotlib has no types
    servers = [server for server, figures in rounds.items() if figures and all(metric in one for one in figures)]
    values = {server: [figures[metric] for figures in rounds[server]] for server in servers}
    medians = [statistics.median(values[server]) for server in servers]
    colours = [_OURS if s.startswith("rnnserve") else _CEILING if "constant" in s else _OTHERS for s in servers]
    bars = axis.barh(servers, medians, color=colours)
    axis.bar_label(bars, [f" {value:,.0f}" if value >= 100 else f" {value:.3g}" for value in medians], fontsize=8)
    for server in servers:
        axis.plot(values[server], [server] * len(values[server]), "k.", markersize=3)
    axis.invert_yaxis()
    axis.margins(x=0.15)
    axis.set_title(f"{title}\n{metric}, {'more' if metric.endswith('/s') else 'less'} is better", fontsize=8)
    axis.tick_params(labelsize=8)


if __name__ == "__main__":
    draw(json.loads(Path(sys.argv[1]).read_text()), Path(sys.argv[2]))
