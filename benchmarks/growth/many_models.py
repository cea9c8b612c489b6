"""The measurement of the number of models: start, memory, requests to one model and to all models, and a scrape.

The bound is onnxruntime alone: `python -m benchmarks.growth.many_models REPOSITORY` loads each model and prints the
number of models. It keeps the models until it is terminated, so that the benchmark can read its memory.
"""

import itertools
import re
import shutil
import signal
import sys
import time
import urllib.request
from collections.abc import Sequence
from pathlib import Path

import grpc
import onnxruntime as ort

from benchmarks.errors import LoadGeneratorFailed
from benchmarks.growth.results import Growth
from benchmarks.growth.sizes import BARE_SESSIONS, COST, CPU, ROWS_A_RUN, Load, Size, copy_name
from benchmarks.growth.turns import make_request, measure_points, serve_fast_path, turn_of_fast_path
from benchmarks.measurement import read_work_done
from benchmarks.metrics import Metrics, percentile
from benchmarks.requests import INFER_METHOD, encode_request
from benchmarks.server_processes import ServerProcess, free_port, resident_bytes, running_server

_MB = 1e6
_START_S = 180.0
_TIMEOUT_S = 30.0
_SCRAPES = 10
_READY_PATTERN = r"sessions: (\d+)"


def measure_models(
    size: Size, points: Sequence[int], rounds: int, seconds: float, deadline: float, work: Path
) -> Growth:
    """Start a server for each number of models, and bare sessions with the same files. Measure both.

    The arguments are the same as for `turns.measure_size`. The function estimates the memory for a number of models
    from the previous number. It doesn't measure a number of models that needs more than the free memory.
    """
    resident: dict[int, float] = {}

    def measure(count: int) -> tuple[Metrics, Metrics]:
        _check_memory(resident, count)
        metrics = _measure(count, seconds, work)
        resident[count] = metrics[0]["resident MB"]
        return metrics

    return measure_points(size, points, rounds, deadline, measure)


def _measure(count: int, seconds: float, work: Path) -> tuple[Metrics, Metrics]:
    copies, repository = work / "growth-models" / "copies", work / "growth-repository"
    names = [copy_name(index) for index in range(count)]
    shutil.rmtree(repository, ignore_errors=True)
    for name in names:
        shutil.copytree(copies / name, repository / name)
    command = [sys.executable, "-m", "benchmarks.growth.many_models", str(repository)]
    log, port = work / "growth-sessions.log", free_port()
    with running_server(BARE_SESSIONS, command, _READY_PATTERN, log, timeout_s=_START_S) as process:
        bound = _start_and_memory(process)
    log, options = work / "growth-fast path.log", [f"--metrics-port={port}"]
    with serve_fast_path(repository, log, _START_S, options) as server:
        fast_path = _start_and_memory(server)
        load = Load(in_flight=64)
        request = make_request(work / "growth-models" / "hidden", load)
        one = turn_of_fast_path(server, load, names[0], request, seconds, work)
        before = read_work_done(server, "")
        _send_to_all(server.port, [encode_request(name, request) for name in names], seconds)
        done = read_work_done(server, "") - before
        scrapes = [_seconds_of_scrape(port) for _ in range(_SCRAPES)]
    fast_path |= {
        f"one model: {COST}": one[COST],
        f"all models: {CPU}": 1e6 * done.cpu_seconds / done.rows,
        f"all models: {ROWS_A_RUN}": done.rows / done.runs,
        "scrape ms": 1e3 * percentile(scrapes, 0.5),
    }
    return fast_path, bound


def _send_to_all(port: int, messages: Sequence[bytes], seconds: float) -> None:
    """Send these messages in turn for some time, 32 at once, and wait for the responses."""
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        infer: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(INFER_METHOD)
        until, turn = time.monotonic() + seconds, itertools.cycle(messages)
        try:
            while time.monotonic() < until:
                for call in [infer.future(message, timeout=_TIMEOUT_S) for message in itertools.islice(turn, 32)]:
                    call.result()
        except grpc.RpcError as error:
            raise LoadGeneratorFailed(f"a request failed: {error.code().name}: {error.details()}") from error


def _seconds_of_scrape(port: int) -> float:
    began = time.perf_counter()
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=_TIMEOUT_S) as reply:
        reply.read()
    return time.perf_counter() - began


def _start_and_memory(process: ServerProcess) -> dict[str, float]:
    return {"ready ms": 1e3 * process.seconds, "resident MB": resident_bytes(process.pids) / _MB}


def _check_memory(resident: dict[int, float], count: int) -> None:
    """Refuse a number of models that needs more than the free memory, judging by the largest measured number."""
    smaller = max((point for point in resident if point < count), default=0)
    if not smaller:
        return
    needed = resident[smaller] * count / smaller
    match = re.search(r"^MemAvailable:\s+(\d+) kB", Path("/proc/meminfo").read_text(), re.MULTILINE)
    free = int(match[1]) * 1024 / _MB if match else 0.0
    if needed > free:
        raise LoadGeneratorFailed(
            f"the measurement may need {needed:,.0f} MB of memory, but only {free:,.0f} MB are free"
        )


def _load_bare(repository: Path) -> None:
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    paths = sorted(repository.glob("*/1/model.onnx"))
    sessions = [ort.InferenceSession(path, options, providers=["CPUExecutionProvider"]) for path in paths]
    print(f"sessions: {len(sessions)}", flush=True)
    signal.pause()


if __name__ == "__main__":
    _load_bare(Path(sys.argv[1]))
