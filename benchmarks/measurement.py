"""Measurement: all servers of a scenario run at the same time, and get load one after the other, A B A B."""

import dataclasses
import functools
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from pathlib import Path

import grpc

from benchmarks import scenarios, server_names, servers
from benchmarks.errors import LoadGeneratorFailed, Saturated, ServerFailed
from benchmarks.http_requests import check_http_answers, http_request
from benchmarks.load_generators.h2load import Target, grpc_target, http_target, run_h2load, send_requests
from benchmarks.load_generators.perf_analyzer import run_perf_analyzer
from benchmarks.metrics import Metrics
from benchmarks.model_loop import graphs_of, measure_model, write_batches
from benchmarks.requests import (
    BenchmarkRequest,
    check_answers,
    encode_request,
    group_into_batches,
    perf_analyzer_input,
    read_requests,
)
from benchmarks.scenarios import CPU_METRIC, FRONT_CPU_METRIC, START_METRICS, Scenario
from benchmarks.server_processes import ServerProcess, count_mapped_files, cpu_seconds, descendants, resident_bytes
from rnnserve.protos import inference_pb2 as pb
from rnnserve.protos.inference_pb2_grpc import GRPCInferenceServiceStub
from rnnserve.protos.protocol_words import AUTHORIZATION

_MB = 1e6
_TIMEOUT_S = 10.0

_LIVES = 8
"""Maximum number of starts in a turn for a server that is started for each turn: Triton's sequence batcher often dies
or stops responding."""

_POSTERS = 2

StartServer = Callable[[str], AbstractContextManager[ServerProcess]]
"""Starts a server of a scenario by its name."""

_Turn = Callable[[float], Metrics]
"""Measures a server for a number of seconds. The metrics are empty if the server is saturated."""


@dataclasses.dataclass(frozen=True)
class WorkDone:
    """The work of a server with ModelStatistics since its start, or between two readings.

    Attributes:
        cpu_seconds: Processor time of the server, in user mode and in the kernel.
        rows: Number of rows in its responses.
        runs: Number of inference calls for these rows.
    """

    cpu_seconds: float
    rows: int
    runs: int

    def __sub__(self, earlier: "WorkDone") -> "WorkDone":
        return WorkDone(self.cpu_seconds - earlier.cpu_seconds, self.rows - earlier.rows, self.runs - earlier.runs)


def measure_scenario(
    scenario: Scenario,
    names: Sequence[str],
    rounds: int,
    seconds: float,
    work: Path,
    start: StartServer | None = None,
    with_cpu: bool = False,
) -> dict[str, list[Metrics]]:
    """Start the servers, check their responses, and measure them in turns.

    Args:
        scenario: The scenario.
        names: Names of the servers, and of `server_names.MODEL_LIMITS`.
        rounds: Number of rounds; in each round every server has one turn, and each round begins with another server.
        seconds: Duration of the measurement in a turn.
        work: Folder for logs. It contains the models.
        start: Starts a server by its name; by default, as `servers.start_server` does.
        with_cpu: Whether to measure `CPU_METRIC` as well. Then each server must have ModelStatistics.

    Returns:
        The metrics of each server, one entry for each round. An entry is empty if the server was saturated.

    Raises:
        BenchmarkError: If a server or a load generator fails, or a response is wrong.
    """
    measurement = _Measurement(scenario, work, start, with_cpu)
    found: dict[str, list[Metrics]] = {name: [] for name in names}
    with ExitStack() as stack:
        take_turn = {name: stack.enter_context(measurement.prepare(name)) for name in names}
        for number, name in turns(names, rounds):
            try:
                metrics = take_turn[name](seconds)
            except Saturated as error:
                print_progress(f"{name}: {error}")
                metrics = {}
            except LoadGeneratorFailed as error:
                raise LoadGeneratorFailed(f"{name}: {error}") from error
            found[name].append(metrics)
            said = [f"{metrics[metric]:,.6g} {metric}" for metric in scenario.metrics if metric in metrics]
            print_progress(f"{scenario.name}, round {number} of {rounds}: {name}: {', '.join(said) or 'saturated'}")
    return found


class _Measurement:
    """Prepares servers of a scenario. Each preparation is a context that yields a function to measure one turn."""

    def __init__(self, scenario: Scenario, work: Path, start: StartServer | None, with_cpu: bool) -> None:
        self._scenario, self._load, self._work, self._with_cpu = scenario, scenario.load, work, with_cpu
        self._repository = work / "models" / model_folder(scenario)
        self._requests: list[BenchmarkRequest] = []
        if self._load.generator != "start":
            self._requests = read_requests(work / "models" / "answers.npz", scenario.model, scenario.lengths)
            self._message = encode_request(scenario.model, self._requests[0])
        self._start = start or self._start_server
        needs_token = server_names.WITH_TOKENS in scenario.servers
        self._headers = {AUTHORIZATION: f"Bearer {servers.new_token(scenario, work)}"} if needs_token else {}

    def prepare(self, name: str) -> AbstractContextManager[_Turn]:
        """Start a server, check its responses, and end the server after the block."""
        if name in server_names.MODEL_LIMITS:
            return self._model(name)
        if self._load.generator == "start":
            return self._starts(name)
        print_progress(f"{self._scenario.name}: starting and checking {name}")
        if self._load.generator in ("json", "binary"):
            return self._over_http(name)
        return self._started_anew(name) if name in scenarios.STARTED_ANEW else self._over_grpc(name)

    def _start_server(self, name: str) -> AbstractContextManager[ServerProcess]:
        return servers.start_server(name, self._scenario, self._repository, self._work, self._requests)

    @contextmanager
    def _over_grpc(self, name: str) -> Iterator[_Turn]:
        headers = {} if name == server_names.FAST_PATH else self._headers
        with self._start(name) as process:
            port, model = process.port, self._scenario.model
            steps = bool(self._load.steps)
            response_bytes = check_answers(name, port, model, self._requests, in_steps=steps, headers=headers)
            target = grpc_target(port, self._message, response_bytes, headers)
            http_port = process.port_after(servers.HTTP_READY_PATTERN) if name == server_names.BESIDE_JSON else 0

            def turn(seconds: float) -> Metrics:
                if self._load.generator == "soak":
                    return self._soak(process, target)
                if self._load.generator == "perf_analyzer":
                    data = perf_analyzer_input(self._requests, self._load.steps, with_batch=_has_batch_axis(name))
                    check = process.check_alive
                    return run_perf_analyzer(self._load, seconds, port, model, data, self._work, check)
                with _posting(http_port, model) if http_port else nullcontext():
                    return run_h2load(self._load, seconds, target, self._work)

            yield functools.partial(self._checked, process, turn)

    def _checked(self, process: ServerProcess, turn: _Turn, seconds: float) -> Metrics:
        """Take a turn of a server, check that the server is still running, and add its processor time on request."""
        process.check_alive()
        before = read_work_done(process, self._scenario.model) if self._with_cpu else None
        used = cpu_seconds(process.pids)
        try:
            metrics = turn(seconds)
        finally:
            process.check_alive()
        if before is not None:
            done = read_work_done(process, self._scenario.model) - before
            return {**metrics, CPU_METRIC: 1e6 * done.cpu_seconds / done.rows}
        if CPU_METRIC in self._scenario.metrics:  # includes the warm-up, which has the same length for all servers
            return {**metrics, CPU_METRIC: 1e6 * (cpu_seconds(process.pids) - used) / metrics["requests"]}
        return metrics

    @contextmanager
    def _started_anew(self, name: str) -> Iterator[_Turn]:
        def turn(seconds: float) -> Metrics:
            for lives_left in reversed(range(_LIVES)):
                try:
                    with self._over_grpc(name) as take_turn:
                        return take_turn(seconds)
                except (ServerFailed, LoadGeneratorFailed) as error:
                    if not lives_left:
                        raise
                    print_progress(f"{name}: once more: {error}")
            raise AssertionError

        yield turn

    @contextmanager
    def _over_http(self, name: str) -> Iterator[_Turn]:
        (request,) = self._requests
        asked = http_request(name, self._load.generator, self._scenario.model, request)
        with self._start(name) as process:
            response_bytes = check_http_answers(process, asked, request)
            target = http_target(process.port, asked.path, asked.fields, asked.body, response_bytes)

            def turn(seconds: float) -> Metrics:
                process.check_alive()
                pids, fronts = process.pids + descendants(process.pids), _fronts(process)
                before = {pid: cpu_seconds([pid]) for pid in pids + fronts}
                done = run_h2load(self._load, seconds, target, self._work)
                metrics = {**done, CPU_METRIC: 1e6 * _cpu_seconds_since(before, pids) / done["requests"]}
                if fronts:
                    metrics[FRONT_CPU_METRIC] = 1e6 * _cpu_seconds_since(before, fronts) / done["requests"]
                return metrics

            yield turn

    @contextmanager
    def _model(self, name: str) -> Iterator[_Turn]:
        cell, hidden = scenarios.MODELS[self._scenario.model]
        is_eager = name == server_names.EAGER
        way = ["eager", cell, str(hidden)] if is_eager else graphs_of(self._repository / self._scenario.model / "1")
        batches = write_batches(
            self._work / f"batches-{self._scenario.name}.npz", group_into_batches(self._requests, self._load.in_flight)
        )
        rate = "requests/s" if self._load.generator == "h2load" else "inferences/s"

        def turn(seconds: float) -> Metrics:
            measured = measure_model(way, batches, seconds)
            return {rate: measured["rows/s"], "p50 ms": measured["p50 ms"], "p99 ms": measured["p99 ms"]}

        yield turn

    @contextmanager
    def _starts(self, name: str) -> Iterator[_Turn]:
        """Start the server in each turn: measure the time until it is ready, memory, and mapped files of torch."""

        def turn(_: float) -> Metrics:
            with self._start(name) as process:
                memory, files = resident_bytes(process.pids) / _MB, count_mapped_files(process.pids, "torch")
                return dict(zip(START_METRICS, (process.seconds, memory, float(files)), strict=True))

        yield turn

    def _soak(self, process: ServerProcess, target: Target) -> Metrics:
        """Send many requests and measure the growth of the server's resident memory."""

        def send(count: int) -> int:
            send_requests(count, target, self._work)
            return resident_bytes(process.pids)

        settled = largest = send(scenarios.SOAK_SETTLED)
        sent = scenarios.SOAK_SETTLED
        for left in range(scenarios.SOAK_READINGS, 0, -1):
            count = (scenarios.SOAK_REQUESTS - sent) // left
            resident, sent = send(count), sent + count
            largest = max(largest, resident)
            growth = (resident - settled) / _MB
            print_progress(f"soak: {sent:,} requests, {resident / _MB:.1f} MB, {growth:+.2f} MB")
        return {"growth MB": (largest - settled) / _MB, "resident MB": resident / _MB, "requests": float(sent)}


def turns(names: Sequence[str], rounds: int) -> Iterator[tuple[int, str]]:
    """Yield the number of the round, from 1, and the server of each turn."""
    for number in range(rounds):
        first = number % len(names) if names else 0
        yield from ((number + 1, name) for name in (*names[first:], *names[:first]))


def read_work_done(process: ServerProcess, model: str) -> WorkDone:
    """Read the processor time of a server and its counts for a model, or for all if `model` is empty."""
    with grpc.insecure_channel(f"127.0.0.1:{process.port}") as channel:
        asked = pb.ModelStatisticsRequest(name=model)
        versions = GRPCInferenceServiceStub(channel).ModelStatistics(asked, timeout=_TIMEOUT_S).model_stats
    rows, runs = (sum(each) for each in zip(*((v.inference_count, v.execution_count) for v in versions), strict=True))
    return WorkDone(cpu_seconds(process.pids), rows, runs)


def print_progress(line: str) -> None:
    """Print the progress of the measurement on standard error."""
    print(line, file=sys.stderr, flush=True)


def model_folder(scenario: Scenario) -> str:
    """Name the folder of models with the outputs that a scenario's load generator should get."""
    if scenario.load.generator == "start":
        return scenario.model
    if scenario.load.steps:
        return "sequences"
    return "logits_only" if scenario.load.generator == "perf_analyzer" else "all_outputs"


def _has_batch_axis(server: str) -> bool:
    return server not in (server_names.TRITON, server_names.TRITON_RAGGED, server_names.TRITON_SEQUENCES)


def _cpu_seconds_since(before: Mapping[int, float], pids: Sequence[int]) -> float:
    """Return the processor time of processes since then, without ended ones such as the processes of load checks."""
    living = [pid for pid in pids if Path("/proc", str(pid)).exists()]
    return cpu_seconds(living) - sum(before[pid] for pid in living)


@contextmanager
def _posting(port: int, model: str) -> Iterator[None]:
    """Run posting clients inside the block. When it begins, each has received one correct response."""
    command = [sys.executable, "-m", "benchmarks.load_generators.large_json", str(port), model]
    posters = [subprocess.Popen(command, stdout=subprocess.PIPE) for _ in range(_POSTERS)]  # noqa: S603 - our own program
    try:
        for poster in posters:
            if poster.stdout is None or not poster.stdout.readline():
                raise LoadGeneratorFailed("a client that sends 16 MiB of JSON ended too early; the lines above say why")
        yield
        if any(poster.poll() is not None for poster in posters):
            raise LoadGeneratorFailed("a client that posts 16 MiB of JSON has ended; the lines above say why")
    finally:
        for poster in posters:
            poster.kill()
            poster.communicate()


def _fronts(process: ServerProcess) -> list[int]:
    """Return the processes of this server that speak HTTP. Other servers have none."""
    found = []
    for pid in descendants(process.pids):
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        if b"rnnserve.cli" in words and b"web" in words:
            found.append(pid)
    return found
