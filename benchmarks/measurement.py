"""Measurement: all servers of a scenario run at the same time, and are loaded one after the other, A B A B."""

import dataclasses
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

import grpc

from benchmarks import scenarios, server_names, servers
from benchmarks.answer_check import check_answers
from benchmarks.errors import LoadGeneratorFailed, Saturated, ServerFailed
from benchmarks.load_generators.h2load import run_h2load, send_requests
from benchmarks.load_generators.perf_analyzer import run_perf_analyzer
from benchmarks.metrics import Metrics
from benchmarks.model_limits import ModelLoop, eager_of, graphs_of, running_model_loop, write_batches
from benchmarks.requests import (
    BenchmarkRequest,
    encode_request,
    group_into_batches,
    perf_analyzer_input,
    perf_analyzer_steps,
    read_requests,
)
from benchmarks.scenarios import Scenario, SoakSettings
from benchmarks.server_processes import (
    ServerProcess,
    count_mapped_files,
    cpu_seconds,
    resident_bytes,
)
from rnnserve.protos import inference_pb2 as pb

__all__ = [
    "CPU_METRIC",
    "START_METRICS",
    "WorkDone",
    "format_metrics",
    "measure_scenario",
    "measure_soak",
    "measure_start",
    "print_progress",
    "read_work_done",
    "start_metrics",
    "turns",
]

_MB = 1e6

_LIVES = 8
"""How many times a server that is started for each turn is started in one: Triton's sequence batcher often dies, or
answers no more."""

START_METRICS = ("ready s", "resident MB", "torch files mapped")

CPU_METRIC = "CPU µs"
"""The server's processor time for each inference, by the server's own count of inferences. It depends less than rates
do on other work on the machine."""


@dataclasses.dataclass(frozen=True)
class WorkDone:
    """What a server with ModelStatistics has done since it started, or between two readings.

    Attributes:
        cpu_seconds: Its processor time, in user mode and in the kernel.
        rows: The rows that it has answered.
        runs: The runs of models that this took.
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
    versions: dict[str, str],
    start_server: servers.StartServer = servers.start_server,
    with_cpu: bool = False,
) -> dict[str, list[Metrics]]:
    """Start the servers, check the answers of each, and measure them in turns.

    Args:
        scenario: The scenario.
        names: Names of the servers, and of `server_names.MODEL_LIMITS`.
        rounds: Number of rounds; in each round every server has one turn, and each round begins with another server.
        seconds: Duration of the measurement in a turn.
        work: Folder with the models, and for logs.
        versions: Versions by name, to which this adds the version that Triton reports.
        start_server: The function that starts a server.
        with_cpu: Whether to measure `CPU_METRIC` too; then each name must be of a server with ModelStatistics.

    Returns:
        The metrics of each server, one entry for each round, empty if the server was saturated.

    Raises:
        BenchmarkError: If a server or a load generator fails, or an answer is wrong.
    """
    repository = work / "models" / _outputs_of(scenario)
    requests = read_requests(work / "models" / "answers.npz", scenario.model, scenario.lengths)
    found: dict[str, list[Metrics]] = {name: [] for name in names}
    with ExitStack() as stack:
        running: dict[str, tuple[ServerProcess, int]] = {}
        loops: dict[str, ModelLoop] = {}
        for name in names:
            if name in server_names.MODEL_LIMITS:
                loops[name] = stack.enter_context(running_model_loop(work / f"loop-{scenario.model}.log"))
                continue
            print_progress(f"{scenario.name}: starting and checking {name}")
            process = stack.enter_context(start_server(name, repository, scenario.model, work, requests[0]))
            steps = bool(scenario.load.steps)
            running[name] = process, check_answers(name, process.port, scenario.model, requests, in_steps=steps)
            if name == server_names.TRITON:
                versions["Triton"] = _read_server_version(process.port)
        for number, name in turns(names, rounds):
            prefix = f"{scenario.name}, round {number} of {rounds}: {name}"
            if name in loops:
                metrics = _run_model_loop(scenario, name, loops[name], requests, seconds, work)
                found[name].append(metrics)
                print_progress(f"{prefix}: {format_metrics(metrics, scenario)}")
                continue
            process, response_bytes = running[name]
            for lives_left in reversed(range(_LIVES if name in scenarios.STARTED_ANEW else 1)):
                if name in scenarios.STARTED_ANEW:
                    process.end()
                    process = stack.enter_context(start_server(name, repository, scenario.model, work, requests[0]))
                    running[name] = process, response_bytes
                try:
                    metrics = _load(process, scenario, name, requests, response_bytes, seconds, work, with_cpu)
                    break
                except (ServerFailed, LoadGeneratorFailed) as error:
                    if not lives_left:
                        raise
                    print_progress(f"{prefix}: once more: {error}")
            found[name].append(metrics)
            print_progress(f"{prefix}: {format_metrics(metrics, scenario) if metrics else 'saturated'}")
    return found


def _load(
    process: ServerProcess,
    scenario: Scenario,
    name: str,
    requests: Sequence[BenchmarkRequest],
    response_bytes: int,
    seconds: float,
    work: Path,
    with_cpu: bool,
) -> Metrics:
    """Give a server its turn; without metrics if it is saturated.

    Raises:
        ServerFailed: If it has ended.
        LoadGeneratorFailed: If it does not answer, or not well.
    """
    process.check_alive()
    before = read_work_done(process, scenario.model) if with_cpu else None
    try:
        metrics = _run_load_generator(process, scenario, name, requests, response_bytes, seconds, work)
    except Saturated as error:
        print_progress(f"{name}: {error}")
        return {}
    except LoadGeneratorFailed as error:
        raise LoadGeneratorFailed(f"{name}: {error}") from error
    finally:
        process.check_alive()
    if before is None:
        return metrics
    done = read_work_done(process, scenario.model) - before
    return {**metrics, CPU_METRIC: 1e6 * done.cpu_seconds / done.rows}


def measure_start(rounds: int, work: Path) -> dict[str, list[Metrics]]:
    """Start this server with three models: measure the time until it is ready, memory, and mapped files of torch."""
    found: list[Metrics] = []
    command = [servers.CONSOLE_SCRIPT, "serve", str(work / "models" / "three_models"), "--grpc-port", "0"]
    command.append("--no-http")
    for number in range(1, rounds + 1):
        with servers.running_rnnserve("rnnserve", command, work / "start.log") as process:
            metrics = start_metrics(process)
        found.append(metrics)
        values = ", ".join(f"{value:.4g} {name}" for name, value in metrics.items())
        print_progress(f"start, round {number} of {rounds}: {values}")
    return {server_names.FAST_PATH: found}


def start_metrics(process: ServerProcess) -> Metrics:
    """Read what a server that has just become ready took: `START_METRICS`."""
    values = process.seconds, resident_bytes(process.pids) / _MB, float(count_mapped_files(process.pids, "torch"))
    return dict(zip(START_METRICS, values, strict=True))


def measure_soak(settings: SoakSettings, work: Path) -> dict[str, list[Metrics]]:
    """Send many requests to this server, and measure the growth of its resident memory."""
    scenario = scenarios.SCENARIOS[0]
    requests = read_requests(work / "models" / "answers.npz", scenario.model, scenario.lengths)
    message = encode_request(scenario.model, requests[0])
    repository = work / "models" / "all_outputs"
    with servers.start_server(server_names.FAST_PATH, repository, scenario.model, work, requests[0]) as process:
        response_bytes = check_answers(server_names.FAST_PATH, process.port, scenario.model, requests)
        send_requests(settings.settle, process.port, message, response_bytes, work)
        settled = largest = resident_bytes(process.pids)
        sent = settings.settle
        for left in range(settings.readings, 0, -1):
            count = (settings.requests - sent) // left
            send_requests(count, process.port, message, response_bytes, work)
            sent += count
            resident = resident_bytes(process.pids)
            largest = max(largest, resident)
            growth = (resident - settled) / _MB
            print_progress(f"soak: {sent:,} requests, {resident / _MB:.1f} MB, {growth:+.2f} MB")
    metrics = {"growth MB": (largest - settled) / _MB, "resident MB": resident / _MB, "requests": float(sent)}
    return {server_names.FAST_PATH: [metrics]}


def _outputs_of(scenario: Scenario) -> str:
    """Name the folder of models with the outputs that a scenario's load generator should get."""
    if scenario.load.steps:
        return "sequences"
    return "all_outputs" if scenario.load.generator == "h2load" else "logits_only"


def turns(names: Sequence[str], rounds: int) -> Iterator[tuple[int, str]]:
    """Yield the number of the round, from 1, and the server of each turn."""
    for number in range(rounds):
        first = number % len(names) if names else 0
        yield from ((number + 1, name) for name in (*names[first:], *names[:first]))


def _run_load_generator(
    process: ServerProcess,
    scenario: Scenario,
    server: str,
    requests: Sequence[BenchmarkRequest],
    response_bytes: int,
    seconds: float,
    work: Path,
) -> Metrics:
    if scenario.load.generator == "h2load":
        message = encode_request(scenario.model, requests[0])
        return run_h2load(scenario.load, seconds, process.port, message, response_bytes, work)
    if scenario.load.steps:
        data = perf_analyzer_steps(requests[0], scenario.load.steps, with_batch=server != server_names.TRITON_SEQUENCES)
    else:
        with_batch = server not in (server_names.TRITON, server_names.TRITON_RAGGED)
        data = perf_analyzer_input(requests, with_batch=with_batch)
    check = process.check_alive
    return run_perf_analyzer(scenario.load, seconds, process.port, scenario.model, data, work, check)


def _run_model_loop(
    scenario: Scenario, name: str, loop: ModelLoop, requests: Sequence[BenchmarkRequest], seconds: float, work: Path
) -> Metrics:
    repository = work / "models" / _outputs_of(scenario)
    if name == server_names.EAGER:
        what = eager_of(*scenarios.MODELS[scenario.model])
    else:
        what = graphs_of(repository / scenario.model / "1")
    batches = write_batches(
        work / f"batches-{scenario.name}.npz", group_into_batches(requests, scenario.load.in_flight)
    )
    measured = loop.measure(what, batches, seconds)
    rate = "requests/s" if scenario.load.generator == "h2load" else "inferences/s"
    return {rate: measured["rows/s"], "p50 ms": measured["p50 ms"], "p99 ms": measured["p99 ms"]}


def format_metrics(metrics: Metrics, scenario: Scenario) -> str:
    """Write the scenario's metrics in a line; those that a server does not have are left out."""
    return ", ".join(f"{metrics[metric]:,.6g} {metric}" for metric in scenario.metrics if metric in metrics)


def read_work_done(process: ServerProcess, model: str) -> WorkDone:
    """Read the processor time of a server and its counts for a model, or for all where `model` is empty."""
    with grpc.insecure_channel(f"127.0.0.1:{process.port}") as channel:
        method = channel.unary_unary(
            "/inference.GRPCInferenceService/ModelStatistics",
            request_serializer=pb.ModelStatisticsRequest.SerializeToString,
            response_deserializer=pb.ModelStatisticsResponse.FromString,
        )
        response: pb.ModelStatisticsResponse = method(pb.ModelStatisticsRequest(name=model), timeout=10)
    versions = response.model_stats
    rows, runs = (sum(each) for each in zip(*((v.inference_count, v.execution_count) for v in versions), strict=True))
    return WorkDone(cpu_seconds(process.pids), rows, runs)


def _read_server_version(port: int) -> str:
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        method = channel.unary_unary(
            "/inference.GRPCInferenceService/ServerMetadata",
            request_serializer=pb.ServerMetadataRequest.SerializeToString,
            response_deserializer=pb.ServerMetadataResponse.FromString,
        )
        response: pb.ServerMetadataResponse = method(pb.ServerMetadataRequest(), timeout=10)
    return response.version


def print_progress(line: str) -> None:
    """Tell on standard error what is being measured."""
    print(line, file=sys.stderr, flush=True)
