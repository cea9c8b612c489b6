"""Measuring: all servers of a scenario run side by side, and are asked in turns, A B A B."""

import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

import grpc

from benchmarks import scenarios, servers
from benchmarks.checking import check
from benchmarks.clients import h2load, perf_analyzer
from benchmarks.errors import Saturated
from benchmarks.figures import Figures
from benchmarks.processes import Process, cpu_seconds, mapped, resident_bytes, started
from benchmarks.questions import Question, encode, perf_analyzer_data, read_questions
from benchmarks.scenarios import Scenario, Soak
from rnnserve.protos import inference_pb2 as pb

__all__ = ["CPU_METRIC", "measure", "soak", "start"]

_MB = 1e6

CPU_METRIC = "CPU µs"
"""The server's processor time for each inference, by its own count: it depends less than rates do on what else the
machine does."""


def measure(
    scenario: Scenario,
    asked_of: Sequence[str],
    rounds: int,
    seconds: float,
    work: Path,
    versions: dict[str, str],
    start_server: servers.StartServer = servers.start,
    with_cpu: bool = False,
) -> dict[str, list[Figures]]:
    """Start the servers, check what each answers, and time them.

    Args:
        scenario: What is asked, and how.
        asked_of: Which of its servers.
        rounds: How often each is timed. A round begins with another server every time.
        seconds: Of measuring, each time.
        work: Holds the models, and takes logs.
        versions: Takes what servers say of their version.
        start_server: Starts one of them.
        with_cpu: Whether to measure `CPU_METRIC` too; each server must count inferences (ModelStatistics).

    Returns:
        The figures of each server, a round after the other; none where a server was saturated.

    Raises:
        BenchError: If a server or a client fails, or an answer is wrong.
    """
    repository = work / "models" / ("whole" if scenario.load.client == "h2load" else "logits")
    asked = read_questions(work / "models" / "answers.npz", scenario.model, scenario.lengths)
    found: dict[str, list[Figures]] = {server: [] for server in asked_of}
    with ExitStack() as stack:
        running: dict[str, tuple[Process, int]] = {}
        for server in asked_of:
            _say(f"{scenario.name}: starting and checking {server}")
            process = stack.enter_context(start_server(server, repository, scenario.model, work, asked[0]))
            running[server] = process, check(server, process.port, scenario.model, asked)
            if server == scenarios.TRITON:
                versions["Triton"] = _version(process.port)
        for turn, server in _turns(asked_of, rounds):
            process, response_bytes = running[server]
            process.check_alive()
            before = _work_done(process, scenario.model) if with_cpu else None
            try:
                figures = _ask(scenario, server, process.port, asked, response_bytes, seconds, work)
            except Saturated as error:
                found[server].append({})
                _say(f"{scenario.name}, round {turn} of {rounds}: {server}: saturated: {error}")
                continue
            finally:
                process.check_alive()
            if before:
                seconds_before, count_before = before
                seconds_after, count_after = _work_done(process, scenario.model)
                cpu = 1e6 * (seconds_after - seconds_before) / (count_after - count_before)
                figures = {**figures, CPU_METRIC: cpu}
            found[server].append(figures)
            said = ", ".join(f"{figures[metric]:,.6g} {metric}" for metric in scenario.metrics)
            _say(f"{scenario.name}, round {turn} of {rounds}: {server}: {said}")
    return found


def start(rounds: int, work: Path) -> dict[str, list[Figures]]:
    """Start this server with three models: time until it is ready, resident memory then, files of torch mapped."""
    found: list[Figures] = []
    command = [servers.CONSOLE_SCRIPT, "serve", str(work / "models" / "three"), "--grpc-port", "0"]
    for turn in range(1, rounds + 1):
        with started("rnnserve", command, servers.READY, work / "start.log") as process:
            figures = {
                "ready s": process.seconds,
                "resident MB": resident_bytes(process.pids) / _MB,
                "torch files mapped": float(mapped(process.pids, "torch")),
            }
        found.append(figures)
        _say(f"start, round {turn} of {rounds}: {', '.join(f'{value:.4g} {name}' for name, value in figures.items())}")
    return {scenarios.LANE: found}


def soak(plan: Soak, work: Path) -> dict[str, list[Figures]]:
    """Send many requests to this server, and watch its resident memory."""
    scenario = scenarios.SCENARIOS[0]
    asked = read_questions(work / "models" / "answers.npz", scenario.model, scenario.lengths)
    message = encode(scenario.model, asked[0])
    with servers.start(scenarios.LANE, work / "models" / "whole", scenario.model, work, asked[0]) as process:
        response_bytes = check(scenarios.LANE, process.port, scenario.model, asked)
        h2load.send(plan.settle, process.port, message, response_bytes, work)
        settled = most = resident_bytes(process.pids)
        sent = plan.settle
        for left in range(plan.looks, 0, -1):
            count = (plan.requests - sent) // left
            h2load.send(count, process.port, message, response_bytes, work)
            sent += count
            resident = resident_bytes(process.pids)
            most = max(most, resident)
            _say(f"soak: {sent:,} requests, {resident / _MB:.1f} MB, {(resident - settled) / _MB:+.2f} MB")
    figures = {"growth MB": (most - settled) / _MB, "resident MB": resident / _MB, "requests": float(sent)}
    return {scenarios.LANE: [figures]}


def _turns(asked_of: Sequence[str], rounds: int) -> Iterator[tuple[int, str]]:
    for turn in range(rounds):
        first = turn % len(asked_of) if asked_of else 0
        yield from ((turn + 1, server) for server in (*asked_of[first:], *asked_of[:first]))


def _ask(
    scenario: Scenario,
    server: str,
    port: int,
    asked: Sequence[Question],
    response_bytes: int,
    seconds: float,
    work: Path,
) -> Figures:
    if scenario.load.client == "h2load":
        message = encode(scenario.model, asked[0])
        return h2load.run(scenario.load, seconds, port, message, response_bytes, work)
    with_batch = server not in (scenarios.TRITON, scenarios.TRITON_RAGGED)
    data = perf_analyzer_data(asked, with_batch=with_batch)
    return perf_analyzer.run(scenario.load, seconds, port, scenario.model, data, work)


def _work_done(process: Process, model: str) -> tuple[float, int]:
    """Return the processor seconds that a server has used, and how many inferences it has made with a model."""
    with grpc.insecure_channel(f"127.0.0.1:{process.port}") as channel:
        ask = channel.unary_unary(
            "/inference.GRPCInferenceService/ModelStatistics",
            request_serializer=pb.ModelStatisticsRequest.SerializeToString,
            response_deserializer=pb.ModelStatisticsResponse.FromString,
        )
        answer: pb.ModelStatisticsResponse = ask(pb.ModelStatisticsRequest(name=model), timeout=10)
    return cpu_seconds(process.pids), sum(version.inference_count for version in answer.model_stats)


def _version(port: int) -> str:
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        ask = channel.unary_unary(
            "/inference.GRPCInferenceService/ServerMetadata",
            request_serializer=pb.ServerMetadataRequest.SerializeToString,
            response_deserializer=pb.ServerMetadataResponse.FromString,
        )
        answer: pb.ServerMetadataResponse = ask(pb.ServerMetadataRequest(), timeout=10)
    return answer.version


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
