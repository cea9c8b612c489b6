"""The measurement of a size other than the number of models: h2load asks the fast path and its bound by turns.

The fast path has one server for all points. In each round every point has a turn, of the fast path and of the bound one
after the other; the next round visits the points in the opposite order, so that a slower minute never bends the curve.
"""

import contextlib
import resource
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import grpc
import numpy as np
import onnxruntime as ort

from benchmarks import servers
from benchmarks.answer_check import INFER_METHOD, LOGIT_LIMIT
from benchmarks.errors import BenchmarkError, LoadGeneratorFailed, WrongAnswer
from benchmarks.growth.results import Growth
from benchmarks.growth.sizes import COST, CPU, ROWS_A_RUN, Load, Size, model_of
from benchmarks.load_generators.h2load import run_h2load
from benchmarks.measurement import read_work_done
from benchmarks.metrics import Metrics
from benchmarks.model_limits import graphs_of, running_model_loop, write_batches
from benchmarks.requests import BenchmarkRequest, encode_request
from benchmarks.scenarios import LoadSettings
from benchmarks.server_names import CONSTANT, FAST_PATH
from benchmarks.server_processes import ServerProcess
from rnnserve.protos import inference_pb2 as pb

__all__ = [
    "OUT_OF_TIME",
    "check_and_size_answer",
    "make_request",
    "measure_size",
    "serve_fast_path",
    "turn_of_fast_path",
]

OUT_OF_TIME = "the time that --minutes gives was used up"

_TIMEOUT_S = 30.0
_MAX_QUEUE = 16384
"""Requests that may wait in the measured server: its default, 4,096, would refuse some of 5,000 at once."""

_SPARE_FILES = 256
"""Open files of a server or load generator beside its connections: libraries, models, pipes."""

_Turn = Callable[[Load, BenchmarkRequest], Metrics]


def measure_size(size: Size, points: Sequence[int], rounds: int, seconds: float, deadline: float, work: Path) -> Growth:
    """Measure the fast path and its bound at each point.

    Args:
        size: A size with a load.
        points: Points at which it is measured.
        rounds: Number of rounds.
        seconds: Duration of a turn's measurement.
        deadline: The moment of `time.monotonic` after which no turn begins.
        work: Folder with the models, and for logs.

    Raises:
        BenchmarkError: If a server does not start, or ends.
    """
    if size.load is None:
        raise ValueError(f"{size.name} has no load")
    repository = work / "growth-models" / "hidden"
    found = Growth(size)
    with (
        serve_fast_path(repository, work / "growth-fast path.log") as fast_path,
        _running_bound(size.bound, repository, size.load(points[0]), seconds, work) as take_turn_of_bound,
    ):
        for number, point in _turns(points, rounds):
            if point in found.failures:
                continue
            if time.monotonic() > deadline:
                if point not in found.rounds:
                    found.failures[point] = OUT_OF_TIME
                continue
            load = size.load(point)
            try:
                _check_open_files(load.connections)
                request = make_request(repository, load)
                metrics = turn_of_fast_path(fast_path, load, model_of(load.hidden), request, seconds, work)
                bounded = take_turn_of_bound(load, request)
            except BenchmarkError as error:
                fast_path.check_alive()
                found.rounds.pop(point, None)
                found.failures[point] = str(error)
                continue
            found.add(point, FAST_PATH, metrics)
            found.add(point, size.bound, bounded)
            text = f"{metrics[COST]:,.4g} {COST}, {size.bound} {bounded[COST]:,.4g}"
            print(f"{size.name} {point:,}, round {number} of {rounds}: {text}", file=sys.stderr, flush=True)
    return found


def serve_fast_path(
    repository: Path, log: Path, timeout_s: float = 60.0
) -> contextlib.AbstractContextManager[ServerProcess]:
    """Start this server on a repository, with room for all requests in flight; it ends with the context."""
    options = ["--grpc-port", "0", f"--max-queue={_MAX_QUEUE}"]
    command = [servers.CONSOLE_SCRIPT, "serve", str(repository), "--no-http", *options]
    return servers.running_rnnserve(FAST_PATH, command, log, timeout_s=timeout_s)


def make_request(repository: Path, load: Load) -> BenchmarkRequest:
    """Draw the points of a request, the same each time; its logits are those of the published model in onnxruntime."""
    shape = (load.rows, load.length, 2)
    input = np.random.default_rng(13).uniform(-1, 1, shape).astype(np.float32)  # (batch, sequence, features)
    session = ort.InferenceSession(
        repository / model_of(load.hidden) / "1" / "model.onnx", providers=["CPUExecutionProvider"]
    )
    feeds = {
        "input": input,
        "lengths": np.full(load.rows, load.length, np.int64),  # (batch,)
        "h_0": np.zeros((1, load.rows, load.hidden), np.float32),  # (num_layers, batch, hidden)
    }
    return BenchmarkRequest(input, session.run(["logits"], feeds)[0])


def turn_of_fast_path(
    fast_path: ServerProcess, load: Load, model: str, request: BenchmarkRequest, seconds: float, work: Path
) -> Metrics:
    """Check an answer of this server and load it for some time; its own counts give `CPU` and `ROWS_A_RUN`.

    Raises:
        LoadGeneratorFailed: If h2load fails, or requests do.
        WrongAnswer: If the answer is not as expected.
    """
    message = encode_request(model, request)
    response_bytes = check_and_size_answer(fast_path, message, request)
    before = read_work_done(fast_path, model)
    metrics = _ask(fast_path, load, message, response_bytes, seconds, work)
    done = read_work_done(fast_path, model) - before
    return {**metrics, CPU: 1e6 * done.cpu_seconds * load.rows / done.rows, ROWS_A_RUN: done.rows / done.runs}


def check_and_size_answer(server: ServerProcess, message: bytes, request: BenchmarkRequest) -> int:
    """Ask once, compare the logits, and return the size of the response in bytes.

    Raises:
        WrongAnswer: If the request fails, or a logit differs.
    """
    with grpc.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        infer: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(INFER_METHOD)
        try:
            payload: bytes = infer(message, timeout=_TIMEOUT_S)
        except grpc.RpcError as error:
            raise WrongAnswer(f"{server.name} fails: {error.code().name}: {error.details()}") from error
    logits = np.frombuffer(pb.ModelInferResponse.FromString(payload).raw_output_contents[0], "<f4")
    largest = float(np.abs(logits.reshape(request.logits.shape) - request.logits).max())
    if not largest <= LOGIT_LIMIT:  # written with `not`, so that NaN is refused too
        raise WrongAnswer(f"{server.name}, input {request.input.shape}: logits differ by {largest:.2g}")
    return len(payload)


@contextlib.contextmanager
def _running_bound(bound: str, repository: Path, first: Load, seconds: float, work: Path) -> Iterator[_Turn]:
    """Start what bounds the fast path, and yield what measures it at a load."""
    if bound == CONSTANT:
        model, answered = model_of(first.hidden), make_request(repository, first)
        with servers.start_server(CONSTANT, repository, model, work, answered) as server:

            def ask(load: Load, request: BenchmarkRequest) -> Metrics:
                message = encode_request(model, request)
                return _ask(server, load, message, check_and_size_answer(server, message, request), seconds, work)

            yield ask
        return
    with running_model_loop(work / "growth-loop.log") as loop:

        def run(load: Load, request: BenchmarkRequest) -> Metrics:
            batches = write_batches(work / "growth-batches.npz", [[request] * load.in_flight])
            graphs = graphs_of(repository / model_of(load.hidden) / "1")
            # The median, since a bound must not be too high: other work on the machine lengthens some of the runs.
            return {COST: 1e3 * loop.measure(graphs, batches, seconds)["p50 ms"] / load.in_flight}

        yield run


def _ask(server: ServerProcess, load: Load, message: bytes, response_bytes: int, seconds: float, work: Path) -> Metrics:
    # h2load's clients connect within the warm-up, some 4,000 a second.
    warm_up = 0.3 + load.connections / 2000
    settings = LoadSettings("h2load", load.in_flight, load.connections, warm_up=warm_up)
    metrics = run_h2load(settings, seconds, server.port, message, response_bytes, work)
    return {COST: 1e6 / metrics["requests/s"], "p50 ms": metrics["p50 ms"], "p99 ms": metrics["p99 ms"]}


def _check_open_files(connections: int) -> None:
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    if 0 <= most < connections + _SPARE_FILES:
        needed = connections + _SPARE_FILES
        raise LoadGeneratorFailed(f"it needs {needed:,} open files, and a process may have {most:,} (ulimit -n)")


def _turns(points: Sequence[int], rounds: int) -> Iterator[tuple[int, int]]:
    """Yield the number of the round, from 1, and the point of each turn."""
    for number in range(rounds):
        yield from ((number + 1, point) for point in (reversed(points) if number % 2 else points))
