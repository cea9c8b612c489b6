"""Measure what requests cost real servers, and compare the simulation with loads of them that it was not fitted to.

All servers are on one core and the load generator on another, so that neither takes from the other. Servers that share
a core have less of it each, and the simulated ones share one likewise.

1. One server is asked one request at a time, of many sizes: the mean seconds of its runs, and of its core's time.
2. One server is asked for a third of what it can do: what a request spends elsewhere. A core that sleeps most of the
   time takes a millisecond and more to wake, which no server under load does.
3. Two servers share the core under load: how much more of it a request takes then, and how long one server runs before
   the other has its turn.
4. Loads that nothing was fitted to: measured, and simulated at the pace that the core had meanwhile. Where a core is
   shared with machines that nobody here sees, the same work takes 1.5 times as much of it a minute later, and 60 % of
   what it could do becomes 90 %. So the pace is measured before, which decides the rate, and in the run itself: from
   the seconds of the core that a request took, and from no latency.

Each load is run several times, and the run with the least p99 counts: whatever else the machine does can only add to
it, and what it adds is not the servers'.
"""

import contextlib
import json
import os
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import grpc
import numpy as np

from benchmarks.errors import BenchmarkError, LoadGeneratorFailed
from benchmarks.run_description import describe_run
from benchmarks.server_processes import ServerProcess, cpu_seconds
from benchmarks.servers import CONSOLE_SCRIPT, READY_PATTERN
from benchmarks.simulation.cost_model import CostModel, MeasuredRun, fit_costs
from benchmarks.simulation.fleet import Fleet, FleetResult, Requests, simulate
from rnnserve.protos import inference_pb2 as pb
from rnnserve.protos.inference_pb2_grpc import GRPCInferenceServiceStub

__all__ = ["Check", "Seconds", "Size", "calibrate", "check", "rate_of", "requests_of"]

_TIMEOUT_S = 10.0
_CLIENTS = 4  # connections of `rnnserve load`
_ROWS, _REQUEST_S, _MOST = 16, 2e-3, 7
"""A typical request has so many rows, or up to seven times as many, so that its run takes about so long: a short one
would be mostly what the client and the kernel do, and the generator could not send enough of them. One of more than a
run of 10 ms, or of 128 KiB, would not be run on the lane."""

Size = tuple[int, int, int]
"""Rows, least and most steps of a row."""

_SIZES: tuple[Size, ...] = (
    (2, 8, 8), (2, 64, 64), (8, 32, 32), (16, 8, 8), (16, 64, 64), (16, 1, 64), (32, 32, 32), (32, 1, 64),
)  # fmt: skip
"""The requests that are sent one at a time, where a typical one has 16 rows."""

_PARTLY, _SHARED = 0.3, 0.6
"""Loads of the core, as parts of what it can do, of the second and the third part."""

_SLICES_S = (0.5e-3, 1e-3, 1.5e-3, 2e-3, 3e-3, 4e-3, 6e-3, 10e-3, 20e-3)
_QUANTILES = 200
_PACES = 3
_SIMULATED = 100_000
"""Requests of each simulated load, so that chance is in the measured one."""

_CHECKS: tuple[tuple[int, float, Size], ...] = (
    (1, 0.6, (16, 1, 64)),
    (2, 0.5, (32, 1, 32)),
    (3, 0.5, (16, 1, 64)),
    (3, 0.7, (16, 1, 64)),
    (3, 0.6, (8, 16, 64)),
)
"""Servers, load of the core, and requests of the loads that nothing was fitted to."""

Point = dict[str, Any]
"""One load in a document of `rnnserve load --json`."""


@dataclass(frozen=True)
class Run:
    """One load that was sent to servers.

    Attributes:
        point: What `rnnserve load` says of it.
        of_core: Mean seconds of the core that a request took.
    """

    point: Point
    of_core: float

    @property
    def p50(self) -> float:
        """Median latency, in seconds."""
        return self._percentile("50")

    @property
    def p99(self) -> float:
        """Latency that a request in a hundred exceeded, in seconds."""
        return self._percentile("99")

    def _percentile(self, percent: str) -> float:
        return float(self.point["latency"]["percentiles"][percent]) / 1e9


@dataclass(frozen=True)
class Seconds:
    """How long is measured.

    Attributes:
        one: Seconds of each size of the first part, in each turn.
        turns: How often each size is measured; the shortest mean counts.
        load: Seconds of each run of the loads after it.
        runs: How often each of these loads is run. The run with the least p99 counts: a stall of a tenth of a second,
            which another program makes, is one request of a hundred in ten seconds.
    """

    one: float = 1.0
    turns: int = 3
    load: float = 5.0
    runs: int = 5


@dataclass(frozen=True)
class Check:
    """One load, measured and simulated; latencies are in seconds.

    Attributes:
        servers: Number of servers.
        size: Rows, least and most steps of a row.
        load: Part of its core that the servers would use without sharing runs.
        rate: Requests per second.
        measured: p50 and p99 of the run with the least p99.
        spread: Least and greatest p99 of the runs.
        simulated: p50 and p99.
        requests: Number of measured requests.
        pace: How many times as much of its core a request took in that run as the costs say.
    """

    servers: int
    size: Size
    load: float
    rate: float
    measured: tuple[float, float]
    spread: tuple[float, float]
    simulated: tuple[float, float]
    requests: int
    pace: float

    @property
    def error(self) -> float:
        """How far the simulated p99 is off, as a part of the measured one."""
        return self.simulated[1] / self.measured[1] - 1


class _Bench:
    """Starts servers on the one core, and load on the other."""

    def __init__(self, repository: Path, model: str, folder: Path) -> None:
        cores = sorted(os.sched_getaffinity(0))
        if len(cores) < 2:
            raise BenchmarkError("needs two cores: one for the servers, one for the load")
        self._generator, self._server = cores[:2]
        self._model, self._folder = model, folder
        self._repository = folder / "repository"
        self._repository.mkdir()
        (self._repository / model).symlink_to((repository / model).resolve())

    @contextlib.contextmanager
    def servers(self, count: int) -> Iterator[list[ServerProcess]]:
        """Run servers."""
        command = [CONSOLE_SCRIPT, "serve", str(self._repository), "--grpc-port", "0", "--no-http"]
        with contextlib.ExitStack() as stack, _on_core(self._server):
            started = []
            for number in range(count):
                started.append(ServerProcess("rnnserve", command, READY_PATTERN, self._folder / f"server-{number}.log"))
                stack.callback(started[-1].end)
            yield started

    def load(self, servers: Sequence[ServerProcess], size: Size, seconds: float, *how: str) -> Point:
        """Send a load; gives its only point, as `rnnserve load --json` describes it."""
        rows, shortest, longest = size
        file = self._folder / "load.json"
        file.unlink(missing_ok=True)
        url = ",".join(f"127.0.0.1:{server.port}" for server in servers)
        command = [
            CONSOLE_SCRIPT, "load", self._model, "--no-check", "--url", url, "--batch", str(rows), "--length",
            f"{shortest}:{longest}", "--duration", str(seconds), "--json", str(file), *how,
        ]  # fmt: skip
        with _on_core(self._generator):
            done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - our own words
        if done.returncode != 0:
            raise LoadGeneratorFailed(f"rnnserve load: {done.stderr or done.stdout}")
        point: Point
        (point,) = json.loads(file.read_bytes())["points"]
        return point

    def loads_at(self, servers: Sequence[ServerProcess], size: Size, seconds: Seconds, rate: float) -> list[Run]:
        """Send requests at a rate, several times; gives the runs, that with the least p99 first."""

        def so_far() -> tuple[int, float]:
            return sum(map(self._answered, servers)), sum(cpu_seconds(server.pids) for server in servers)

        runs = []
        for _ in range(seconds.runs):
            answered, used = so_far()
            point = self.load(servers, size, seconds.load, "--rate", str(rate))
            has_answered, uses = so_far()
            runs.append(Run(point, (uses - used) / (has_answered - answered)))
        return sorted(runs, key=lambda run: run.p99)

    def one_at_a_time(self, server: ServerProcess, size: Size, seconds: float) -> tuple[float, float]:
        """Send one request at a time; gives the mean seconds of a run, and of the core's time beside it."""
        (before, ran), used = self._runs(server), cpu_seconds(server.pids)
        self.load([server], size, seconds, "--closed", "1", "--connections", "1", "--warmup", "0.3")
        (after, has_run), uses = self._runs(server), cpu_seconds(server.pids)
        mean = (has_run - ran) / (after - before)
        return mean, (uses - used) / (after - before) - mean

    def _runs(self, server: ServerProcess) -> tuple[int, float]:
        """How many runs a server has made, and how many seconds they took."""
        batches = [batch.compute_infer for model in self._statistics(server) for batch in model.batch_stats]
        return sum(batch.count for batch in batches), sum(batch.ns for batch in batches) / 1e9

    def _answered(self, server: ServerProcess) -> int:
        """How many requests a server has answered."""
        return sum(model.inference_stats.success.count for model in self._statistics(server))

    def _statistics(self, server: ServerProcess) -> Sequence[pb.ModelStatistics]:
        with grpc.insecure_channel(f"127.0.0.1:{server.port}", [("grpc.use_local_subchannel_pool", 1)]) as channel:
            asked = pb.ModelStatisticsRequest(name=self._model)
            return GRPCInferenceServiceStub(channel).ModelStatistics(asked, timeout=_TIMEOUT_S).model_stats


@contextlib.contextmanager
def _on_core(core: int) -> Iterator[None]:
    """Let what is started in the block be on a core."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def calibrate(repository: Path, model: str, folder: Path, seconds: Seconds) -> CostModel:
    """Measure what requests cost.

    Args:
        repository: Folder with the model.
        model: Name of the model, whose rows may be padded.
        folder: Empty folder for logs.
        seconds: Times of the measurements.
    """
    bench = _Bench(repository, model, folder)
    with bench.servers(1) as servers:
        first, _ = bench.one_at_a_time(servers[0], _typical(_ROWS), seconds.one)
        times = max(1, min(_MOST, round(_REQUEST_S / first)))
        sizes = [(rows * times, shortest, longest) for rows, shortest, longest in _SIZES]
        turns = [[bench.one_at_a_time(servers[0], size, seconds.one) for size in sizes] for _ in range(seconds.turns)]
        found = np.min(np.array(turns), axis=0)  # (sizes, 2)
        measured = [MeasuredRun(*size, *map(float, each)) for size, each in zip(sizes, found, strict=True)]
        costs = fit_costs(measured, _ROWS * times, {"model": model, **describe_run()["hardware"]})
        typical = _typical(costs.rows)
        partly = bench.loads_at(servers, typical, seconds, rate_of(costs, typical, _PARTLY))
    costs = replace(costs, away=_away(costs, partly[0].point))
    with bench.servers(2) as servers:
        rate = rate_of(costs, typical, _SHARED)
        shared = bench.loads_at(servers, typical, seconds, rate)[0]
    costs = replace(costs, shared=max(1.0, shared.of_core / _core_seconds(costs, 2, typical, rate)))
    return replace(costs, slice=_slice(costs, rate, shared.p99))


def check(repository: Path, costs: CostModel, folder: Path, seconds: Seconds) -> Iterator[Check]:
    """Measure loads that nothing was fitted to, and simulate them."""
    bench = _Bench(repository, costs.facts["model"], folder)
    for count, load, (rows, shortest, longest) in _CHECKS:
        size = rows * costs.rows // _ROWS, shortest, longest
        with bench.servers(count) as servers:
            rate = rate_of(costs, size, load)
            before = bench.loads_at(servers, size, replace(seconds, runs=1), rate)[0]
            rate = round(rate / _pace(costs, count, size, rate, before.of_core), 1)
            runs = bench.loads_at(servers, size, seconds, rate)
        quietest, requests = runs[0], runs[0].point["latency"]["count"]
        measured, spread = (quietest.p50, quietest.p99), (quietest.p99, runs[-1].p99)
        pace = _pace(costs, count, size, rate, quietest.of_core)
        simulated = _simulated(costs.at_pace(pace), count, size, rate)
        yield Check(count, size, load, rate, measured, spread, simulated, requests, pace)


def rate_of(costs: CostModel, size: Size, load: float) -> float:
    """Requests a second of which each has a run of its own that use so much of a core."""
    return round(load / costs.mean_seconds(*size), 1)


def _away(costs: CostModel, partly: Point) -> tuple[float, ...]:
    """Quantiles of what requests spend elsewhere: such that the simulated latencies have those of the measured."""
    ends, counts = np.array(partly["latency"]["buckets"], np.float64).T  # (buckets,) each
    at = (np.arange(_QUANTILES) + 0.5) / _QUANTILES
    measured = ends[np.searchsorted(np.cumsum(counts) / counts.sum(), at)] / 1e9  # (quantiles,)
    fleet, requests = Fleet(1, clients=_CLIENTS), requests_of(_typical(costs.rows))
    alone = simulate(fleet, costs, requests, partly["rate"], _SIMULATED / partly["rate"], seed=1)
    return tuple(sorted(np.maximum(measured - np.quantile(alone.latency, at), 0.0).tolist()))


def _slice(costs: CostModel, rate: float, p99: float) -> float:
    """The slice with which two servers on a core have the p99 that was measured."""

    def distance(slice_s: float) -> float:
        return abs(_simulated(replace(costs, slice=slice_s), 2, _typical(costs.rows), rate)[1] - p99)

    return min(_SLICES_S, key=distance)


def _simulated(costs: CostModel, servers: int, size: Size, rate: float) -> tuple[float, float]:
    found = _sharing(costs, servers, size, rate)
    return found.percentile(50), found.percentile(99)


def _pace(costs: CostModel, servers: int, size: Size, rate: float, of_core: float) -> float:
    """How many times as long everything takes on a core of which a request took so many seconds."""
    pace = 1.0
    for _ in range(_PACES):  # where all is slower, more requests share runs, so that each takes less again
        pace *= of_core / _core_seconds(costs.at_pace(pace), servers, size, rate)
    return pace


def _core_seconds(costs: CostModel, servers: int, size: Size, rate: float) -> float:
    """Mean seconds of the core that a request takes as far as the costs say."""
    found = _sharing(costs, servers, size, rate)
    return float(found.used.sum()) * found.seconds / len(found.due)


def _sharing(costs: CostModel, servers: int, size: Size, rate: float) -> FleetResult:
    """Simulate servers that share a core, as the real ones do."""
    fleet = Fleet(servers, clients=_CLIENTS, servers_a_core=servers)
    return simulate(fleet, costs, requests_of(size), rate, _SIMULATED / rate, seed=2)


def _typical(rows: int) -> Size:
    return rows, 1, 64


def requests_of(size: Size) -> Requests:
    """Return what `rnnserve load` sends of a size."""
    rows, shortest, longest = size
    return Requests(rows, range(shortest, longest + 1))
