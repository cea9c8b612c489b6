"""Measurement over HTTP: all servers run at the same time, each answer is checked, and they are loaded by turns."""

import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent import futures
from contextlib import ExitStack, contextmanager
from http.client import HTTPConnection, HTTPException
from pathlib import Path

import numpy as np

from benchmarks import scenarios, server_names, servers
from benchmarks.answer_check import LOGIT_LIMIT, check_answers
from benchmarks.errors import LoadGeneratorFailed, WrongAnswer
from benchmarks.http_requests import HttpRequest, http_request
from benchmarks.http_servers import start_http_server
from benchmarks.load_generators.h2load import run_h2load, run_h2load_over_http
from benchmarks.measurement import CPU_METRIC, format_metrics, print_progress, turns
from benchmarks.metrics import Metrics
from benchmarks.requests import BenchmarkRequest, encode_request, read_requests
from benchmarks.scenarios import LoadSettings, Scenario
from benchmarks.server_processes import ServerProcess, cpu_seconds, descendants

__all__ = ["FRONT_CPU_METRIC", "measure_beside_json", "measure_http_scenario"]

FRONT_CPU_METRIC = "front CPU µs"
"""Processor time of the processes that speak HTTP, for each request: a core of the front carries its inverse."""

_REPETITIONS, _AT_ONCE = 64, 8
_START_S = _TIMEOUT_S = 60.0
_POSTERS = 2
_GRPC = LoadSettings("h2load", in_flight=1, warm_up=0.2)


def measure_http_scenario(
    scenario: Scenario, names: Sequence[str], rounds: int, seconds: float, work: Path
) -> dict[str, list[Metrics]]:
    """Start the servers, check the answers of each, and measure them in turns.

    Args:
        scenario: The scenario; its generator is the form of the requests.
        names: Names of the servers.
        rounds: Number of rounds; in each round every server has one turn.
        seconds: Duration of the measurement in a turn.
        work: Folder with the models, and for logs.

    Raises:
        BenchmarkError: If a server or a load generator fails, or an answer is wrong.
    """
    form = scenario.load.generator
    repository = work / "models" / "all_outputs"
    (request,) = read_requests(work / "models" / "answers.npz", scenario.model, scenario.lengths)
    found: dict[str, list[Metrics]] = {name: [] for name in names}
    with ExitStack() as stack:
        running: dict[str, tuple[ServerProcess, HttpRequest, int]] = {}
        for name in names:
            print_progress(f"{scenario.name}: starting and checking {name}")
            folder = servers.folder_of_server(work, f"{name}-{form}", scenario.model)
            process = stack.enter_context(start_http_server(name, form, repository, scenario.model, folder))
            asked = http_request(name, form, scenario.model, request)
            running[name] = process, asked, _check_http_answers(process, asked, request)
        for number, name in turns(names, rounds):
            process, asked, response_bytes = running[name]
            process.check_alive()
            url = f"http://127.0.0.1:{process.port}{asked.path}"
            pids, fronts = process.pids + descendants(process.pids), _fronts(process)
            before = {pid: cpu_seconds([pid]) for pid in pids + fronts}
            try:
                done = run_h2load_over_http(scenario.load, seconds, url, asked.fields, asked.body, response_bytes, work)
            except LoadGeneratorFailed as error:
                raise LoadGeneratorFailed(f"{name}: {error}") from error
            metrics = {**done, CPU_METRIC: 1e6 * _cpu_seconds_since(before, pids) / done["requests"]}
            if fronts:
                metrics[FRONT_CPU_METRIC] = 1e6 * _cpu_seconds_since(before, fronts) / done["requests"]
            found[name].append(metrics)
            print_progress(f"{scenario.name}, round {number} of {rounds}: {name}: {format_metrics(metrics, scenario)}")
    return found


def _cpu_seconds_since(before: Mapping[int, float], pids: Sequence[int]) -> float:
    """Processor time of processes since then; one that has ended meanwhile, as those of trials do, is left out."""
    living = [pid for pid in pids if Path("/proc", str(pid)).exists()]
    return cpu_seconds(living) - sum(before[pid] for pid in living)


def measure_beside_json(rounds: int, seconds: float, work: Path) -> dict[str, list[Metrics]]:
    """Measure gRPC, one request at a time, alone and beside two clients that post 16 MiB of JSON without a pause."""
    scenario = next(scenario for scenario in scenarios.SCENARIOS if scenario.name == "http_idle")
    requests = read_requests(work / "models" / "answers.npz", scenario.model, scenario.lengths)
    message = encode_request(scenario.model, requests[0])
    repository = work / "models" / "all_outputs"
    found: dict[str, list[Metrics]] = {server_names.ALONE: [], server_names.BESIDE_JSON: []}
    log = servers.folder_of_server(work, server_names.BESIDE_JSON, scenario.model).with_suffix(".log")
    command = [servers.CONSOLE_SCRIPT, "serve", str(repository), "--grpc-port", "0", "--http-port", "0"]
    with servers.running_rnnserve(server_names.BESIDE_JSON, command, log) as process:
        response_bytes = check_answers(server_names.BESIDE_JSON, process.port, scenario.model, requests)
        http_port = process.port_after(r"HTTP on 127\.0\.0\.1:(\d+)")
        for number in range(1, rounds + 1):
            for name in found:
                with ExitStack() as stack:
                    if name == server_names.BESIDE_JSON:
                        stack.enter_context(_posting(http_port, scenario.model))
                    metrics = run_h2load(_GRPC, seconds, process.port, message, response_bytes, work)
                found[name].append(metrics)
                said = ", ".join(f"{metrics[metric]:.4g} {metric}" for metric in ("p50 ms", "p99 ms", "max ms"))
                print_progress(f"http_large, round {number} of {rounds}: {name}: {said}")
    return found


@contextmanager
def _posting(port: int, model: str) -> Iterator[None]:
    """Have clients post inside the block; each has had one answer, a right one, when it begins."""
    command = [sys.executable, "-m", "benchmarks.load_generators.large_json", str(port), model]
    posters = [subprocess.Popen(command, stdout=subprocess.PIPE) for _ in range(_POSTERS)]  # noqa: S603 - our own program
    try:
        for poster in posters:
            if poster.stdout is None or not poster.stdout.readline():
                raise LoadGeneratorFailed("a client that posts 16 MiB of JSON has ended; the lines above say why")
        yield
        if any(poster.poll() is not None for poster in posters):
            raise LoadGeneratorFailed("a client that posts 16 MiB of JSON has ended; the lines above say why")
    finally:
        for poster in posters:
            poster.kill()
            poster.communicate()


def _check_http_answers(process: ServerProcess, asked: HttpRequest, request: BenchmarkRequest) -> int:
    """Ask several times at once, so that requests share batches, and compare with eager PyTorch.

    Returns:
        The size of an answer's body.

    Raises:
        WrongAnswer: If a logit differs from eager's, or a request fails.
        ServerFailed: If the server ends.
    """
    deadline = time.monotonic() + _START_S
    while True:
        process.check_alive()
        try:
            _check_http_answer(process, asked, request)
            break
        except (OSError, HTTPException, WrongAnswer):  # it starts
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)
    with futures.ThreadPoolExecutor(_AT_ONCE) as pool:
        sizes = pool.map(lambda _: _check_http_answer(process, asked, request), range(_REPETITIONS))
        return min(sizes)


def _check_http_answer(process: ServerProcess, asked: HttpRequest, request: BenchmarkRequest) -> int:
    connection = HTTPConnection("127.0.0.1", process.port, timeout=_TIMEOUT_S)
    try:
        connection.request("POST", asked.path, asked.body, dict(asked.fields))
        reply = connection.getresponse()
        body = reply.read()
    finally:
        connection.close()
    if reply.status != 200:
        raise WrongAnswer(f"{process.name} answers {reply.status}: {body[:300]!r}")
    logits = asked.read({name.lower(): value for name, value in reply.getheaders()}, body)
    # Written with `not`, so that NaN is refused too.
    if logits.shape != request.logits.shape or not float(np.abs(logits - request.logits).max()) <= LOGIT_LIMIT:
        raise WrongAnswer(
            f"{process.name}: logits are {logits.tolist()}, expected eager PyTorch's {request.logits.tolist()}"
        )
    return len(body)


def _fronts(process: ServerProcess) -> list[int]:
    """The processes of this server that speak HTTP; none of another's."""
    found = []
    for pid in descendants(process.pids):
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        if b"rnnserve.cli" in words and b"web" in words:
            found.append(pid)
    return found
