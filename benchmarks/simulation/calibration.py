"""Measure what requests cost real servers.

All servers are on one core and the load generator on another, so that neither takes from the other. Servers that share
a core have less of it each, and the simulated ones share one likewise.

1. One server is asked one request at a time, of many sizes: the mean seconds of its runs, and of its core's time.
2. One server is asked for a third of what it can do: what a request spends elsewhere. A core that sleeps most of the
   time takes a millisecond and more to wake, which no server under load does.
3. Two servers share the core under load: how much more of it a request takes then, and how long one server runs before
   the other has its turn.
"""

from dataclasses import replace
from pathlib import Path

import numpy as np

from benchmarks.run_description import describe_run
from benchmarks.simulation.cost_model import CostModel, MeasuredRun, fit_costs
from benchmarks.simulation.fleet import Fleet, simulate
from benchmarks.simulation.servers_on_a_core import Point, Seconds, ServersOnACore, Size
from benchmarks.simulation.shared_core import (
    CLIENTS,
    ROWS,
    SIMULATED,
    core_seconds,
    percentiles,
    rate_of,
    requests_of,
    typical,
)

__all__ = ["calibrate"]

_REQUEST_S, _MOST = 2e-3, 7
"""A typical request has 16 rows, or up to seven times as many, so that its run takes about so long: a short one
would be mostly what the client and the kernel do, and the generator could not send enough of them. One of more than a
run of 10 ms, or of 128 KiB, would not be run on the fast path."""

_SIZES: tuple[Size, ...] = (
    (2, 8, 8), (2, 64, 64), (8, 32, 32), (16, 8, 8), (16, 64, 64), (16, 1, 64), (32, 32, 32), (32, 1, 64),
)  # fmt: skip
"""The requests that are sent one at a time, where a typical one has 16 rows."""

_PARTLY, _SHARED = 0.3, 0.6
"""Loads of the core, as parts of what it can do, of the second and the third part."""

_SLICES_S = (0.5e-3, 1e-3, 1.5e-3, 2e-3, 3e-3, 4e-3, 6e-3, 10e-3, 20e-3)
_QUANTILES = 200


def calibrate(repository: Path, model: str, folder: Path, seconds: Seconds) -> CostModel:
    """Measure what requests cost.

    Args:
        repository: Folder with the model.
        model: Name of the model, whose rows may be padded.
        folder: Empty folder for logs.
        seconds: Times of the measurements.
    """
    bench = ServersOnACore(repository, model, folder)
    with bench.servers(1) as servers:
        first, _ = bench.one_at_a_time(servers[0], typical(ROWS), seconds.one)
        times = max(1, min(_MOST, round(_REQUEST_S / first)))
        sizes = [(rows * times, shortest, longest) for rows, shortest, longest in _SIZES]
        turns = [[bench.one_at_a_time(servers[0], size, seconds.one) for size in sizes] for _ in range(seconds.turns)]
        found = np.min(np.array(turns), axis=0)  # (sizes, 2)
        measured = [MeasuredRun(*size, *map(float, each)) for size, each in zip(sizes, found, strict=True)]
        costs = fit_costs(measured, ROWS * times, {"model": model, **describe_run()["hardware"]})
        usual = typical(costs.rows)
        partly = bench.loads_at(servers, usual, seconds, rate_of(costs, usual, _PARTLY))
    costs = replace(costs, away=_away(costs, partly[0].point))
    with bench.servers(2) as servers:
        rate = rate_of(costs, usual, _SHARED)
        shared = bench.loads_at(servers, usual, seconds, rate)[0]
    costs = replace(costs, shared=max(1.0, shared.of_core / core_seconds(costs, 2, usual, rate)))
    return replace(costs, slice=_slice(costs, rate, shared.p99))


def _away(costs: CostModel, partly: Point) -> tuple[float, ...]:
    """Quantiles of what requests spend elsewhere: such that the simulated latencies have those of the measured."""
    ends, counts = np.array(partly["latency"]["buckets"], np.float64).T  # (buckets,) each
    at = (np.arange(_QUANTILES) + 0.5) / _QUANTILES
    measured = ends[np.searchsorted(np.cumsum(counts) / counts.sum(), at)] / 1e9  # (quantiles,)
    fleet, requests = Fleet(1, clients=CLIENTS), requests_of(typical(costs.rows))
    alone = simulate(fleet, costs, requests, partly["rate"], SIMULATED / partly["rate"], seed=1)
    return tuple(sorted(np.maximum(measured - np.quantile(alone.latency, at), 0.0).tolist()))


def _slice(costs: CostModel, rate: float, p99: float) -> float:
    """The slice with which two servers on a core have the p99 that was measured."""

    def distance(slice_s: float) -> float:
        return abs(percentiles(replace(costs, slice=slice_s), 2, typical(costs.rows), rate)[1] - p99)

    return min(_SLICES_S, key=distance)
