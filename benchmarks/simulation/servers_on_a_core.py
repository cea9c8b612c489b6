"""Real servers that share one core, and the load that is sent to them from another one.

Each load is run several times, and the run with the least p99 counts: whatever else the machine does can only add to
it, and what it adds is not the servers'.
"""

import contextlib
import json
import os
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc

from benchmarks.errors import BenchmarkError, LoadGeneratorFailed
from benchmarks.server_processes import ServerProcess, cpu_seconds
from benchmarks.servers import CONSOLE_SCRIPT, READY_PATTERN
from rnnserve.protos import inference_pb2 as pb
from rnnserve.protos.inference_pb2_grpc import GRPCInferenceServiceStub

__all__ = ["Point", "Run", "Seconds", "ServersOnACore", "Size"]

_TIMEOUT_S = 10.0

Size = tuple[int, int, int]
"""Rows, least and most steps of a row."""

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

    @property
    def requests(self) -> int:
        """How many requests were measured."""
        return int(self.point["latency"]["count"])

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


class ServersOnACore:
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
