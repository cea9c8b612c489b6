"""The measurement of the number of models: start, memory, and requests to one of them and to all."""

import itertools
import re
import shutil
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import grpc

from benchmarks.answer_check import INFER_METHOD
from benchmarks.errors import BenchmarkError, LoadGeneratorFailed
from benchmarks.growth import bare_sessions
from benchmarks.growth.results import Growth
from benchmarks.growth.sizes import COST, CPU, ROWS_A_RUN, Load, Size, copy_name
from benchmarks.growth.turns import OUT_OF_TIME, make_request, serve_fast_path, turn_of_fast_path
from benchmarks.measurement import read_work_done
from benchmarks.metrics import Metrics
from benchmarks.requests import encode_request
from benchmarks.server_names import FAST_PATH
from benchmarks.server_processes import ServerProcess, resident_bytes, running_server

__all__ = ["measure_models", "send_to_all"]

_MB = 1e6
_START_S = 180.0
_IN_FLIGHT = 32
_TIMEOUT_S = 30.0


def measure_models(
    size: Size, points: Sequence[int], rounds: int, seconds: float, deadline: float, work: Path
) -> Growth:
    """Start a server for each number of models, and bare sessions with the same files; measure both.

    The arguments are as for `turns.measure_size`. A number that would need more memory than is free, by what the number
    before it took, is not measured.
    """
    found = Growth(size)
    for number, point in itertools.product(range(1, rounds + 1), points):
        if point in found.failures:
            continue
        if time.monotonic() > deadline:
            if point not in found.rounds:
                found.failures[point] = OUT_OF_TIME
            continue
        try:
            _check_memory(found, point)
            fast_path, bound = _measure(point, seconds, work)
        except BenchmarkError as error:
            found.rounds.pop(point, None)
            found.failures[point] = str(error)
            continue
        found.add(point, FAST_PATH, fast_path)
        found.add(point, size.bound, bound)
        text = ", ".join(f"{value:,.4g} {name}" for name, value in fast_path.items())
        print(f"{size.name} {point:,}, round {number} of {rounds}: {text}", file=sys.stderr, flush=True)
    return found


def send_to_all(port: int, messages: Sequence[bytes], in_flight: int, seconds: float) -> None:
    """Send these messages in turn for some time, so many at once, and wait for the answers.

    Raises:
        LoadGeneratorFailed: If a request fails.
    """
    slots, failures = threading.Semaphore(in_flight), list[str]()

    def end(call: "grpc.Future[bytes]") -> None:
        error = call.exception()
        if isinstance(error, grpc.RpcError):
            failures.append(f"{error.code().name}: {error.details()}")
        slots.release()

    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        infer: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(INFER_METHOD)
        until = time.monotonic() + seconds
        for message in itertools.cycle(messages):
            slots.acquire()
            if failures or time.monotonic() > until:
                slots.release()
                break
            infer.future(message, timeout=_TIMEOUT_S).add_done_callback(end)
        for _ in range(in_flight):
            slots.acquire()
    if failures:
        raise LoadGeneratorFailed(f"{len(failures)} requests failed; the first: {failures[0]}")


def _measure(count: int, seconds: float, work: Path) -> tuple[Metrics, Metrics]:
    copies, repository = work / "growth-models" / "copies", work / "growth-repository"
    names = [copy_name(index) for index in range(count)]
    shutil.rmtree(repository, ignore_errors=True)
    for name in names:
        shutil.copytree(copies / name, repository / name)
    command = [sys.executable, "-m", bare_sessions.__name__, str(repository)]
    log = work / "growth-sessions.log"
    with running_server("bare sessions", command, bare_sessions.READY_PATTERN, log, timeout_s=_START_S) as process:
        bound = _start_and_memory(process)
    with serve_fast_path(repository, work / "growth-fast path.log", _START_S) as server:
        fast_path = _start_and_memory(server)
        load = Load(in_flight=64)
        request = make_request(work / "growth-models" / "hidden", load)
        one = turn_of_fast_path(server, load, names[0], request, seconds, work)
        before = read_work_done(server, "")
        send_to_all(server.port, [encode_request(name, request) for name in names], _IN_FLIGHT, seconds)
        done = read_work_done(server, "") - before
    fast_path |= {
        f"one model: {COST}": one[COST],
        f"all models: {CPU}": 1e6 * done.cpu_seconds / done.rows,
        f"all models: {ROWS_A_RUN}": done.rows / done.runs,
    }
    return fast_path, bound


def _start_and_memory(process: ServerProcess) -> dict[str, float]:
    return {"ready ms": 1e3 * process.seconds, "resident MB": resident_bytes(process.pids) / _MB}


def _check_memory(found: Growth, count: int) -> None:
    """Refuse a number of models that needs more memory than is free, by what the largest measured number takes."""
    smaller = [point for point in found.points() if point < count]
    resident = found.median(smaller[-1], FAST_PATH, "resident MB") if smaller else None
    if resident is None:
        return
    needed = resident * count / smaller[-1]
    match = re.search(r"^MemAvailable:\s+(\d+) kB", Path("/proc/meminfo").read_text(), re.MULTILINE)
    free = int(match[1]) * 1024 / _MB if match else 0.0
    if needed > free:
        raise LoadGeneratorFailed(f"it may need {needed:,.0f} MB of memory, and {free:,.0f} MB are free")
