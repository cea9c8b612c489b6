"""The measurement of a size other than the number of models: h2load loads the fast path and its bound in turns.

The fast path has one server for all points. In each round every point has a turn, first of the fast path and then of
the bound. The next round visits the points in the opposite order, so that a slower minute never bends the curve.
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
from benchmarks.errors import LoadGeneratorFailed, WrongAnswer
from benchmarks.growth.results import Growth
from benchmarks.growth.sizes import COST, CPU, ROWS_A_RUN, Load, Size, model_of
from benchmarks.load_generators.h2load import grpc_target, run_h2load
from benchmarks.measurement import read_work_done
from benchmarks.metrics import Metrics
from benchmarks.model_loop import graphs_of, measure_model, write_batches
from benchmarks.requests import INFER_METHOD, BenchmarkRequest, check_logits, encode_request, read_logits
from benchmarks.scenarios import LoadSettings
from benchmarks.server_names import CONSTANT, FAST_PATH
from benchmarks.server_processes import ServerProcess
from rnnserve.protos import inference_pb2 as pb

OUT_OF_TIME = "the time that --minutes gives was used up"

_TIMEOUT_S = 30.0
_MAX_QUEUE = 16384
"""Limit of pending requests in the measured server. Its default, 4,096, would refuse some of 5,000 at once."""

_SPARE_FILES = 256
"""Open files of a server or load generator in addition to its connections: libraries, models, pipes."""

_Turn = Callable[[Load, BenchmarkRequest], Metrics]


def measure_size(size: Size, points: Sequence[int], rounds: int, seconds: float, deadline: float, work: Path) -> Growth:
    """Measure the fast path and its bound at each point.

    Args:
        size: A size with a load.
        points: Points at which it is measured.
        rounds: Number of rounds.
        seconds: Duration of a turn's measurement.
        deadline: The moment of `time.monotonic` after which no turn begins.
        work: Folder for logs. It contains the models.

    Raises:
        BenchmarkError: If a server does not start, or ends early.
    """
    if size.load is None:
        raise ValueError(f"there is no load for the size {size.name}")
    load_at, repository = size.load, work / "growth-models" / "hidden"
    with (
        serve_fast_path(repository, work / "growth-fast path.log") as fast_path,
        _running_bound(size.bound, repository, load_at(points[0]), seconds, work) as take_turn_of_bound,
    ):

        def measure(point: int) -> tuple[Metrics, Metrics]:
            load = load_at(point)
            try:
                _check_open_files(load.connections)
                request = make_request(repository, load)
                metrics = turn_of_fast_path(fast_path, load, model_of(load.hidden), request, seconds, work)
                return metrics, take_turn_of_bound(load, request)
            finally:
                fast_path.check_alive()

        return measure_points(size, points, rounds, deadline, measure)


def measure_points(
    size: Size,
    points: Sequence[int],
    rounds: int,
    deadline: float,
    measure: Callable[[int], tuple[Metrics, Metrics]],
) -> Growth:
    """Measure every point in each round, in alternating order. A point that fails is left out from then on.

    The arguments are the same as for `measure_size`; `measure` measures the fast path and its bound at a point.
    """
    found = Growth(size)
    for number in range(1, rounds + 1):
        for point in points if number % 2 else reversed(points):
            if point in found.failures:
                continue
            if time.monotonic() > deadline:
                if point not in found.rounds:
                    found.failures[point] = OUT_OF_TIME
                continue
            try:
                fast_path, bound = measure(point)
            except (LoadGeneratorFailed, WrongAnswer) as error:
                found.fail(point, str(error))
                continue
            found.add(point, fast_path, bound)
            text = ", ".join(f"{value:,.4g} {name}" for name, value in fast_path.items())
            print(f"{size.name} {point:,}, round {number} of {rounds}: {text}", file=sys.stderr, flush=True)
    return found


def serve_fast_path(
    repository: Path, log: Path, timeout_s: float = 60.0, options: Sequence[str] = ()
) -> contextlib.AbstractContextManager[ServerProcess]:
    """Start this server on a repository, with room for all requests in flight. The server ends with the context."""
    options = ["--grpc-port", "0", f"--max-queue={_MAX_QUEUE}", "--no-http", *options]
    command = [servers.CONSOLE_SCRIPT, "serve", str(repository), *options]
    return servers.running_rnnserve(FAST_PATH, command, log, timeout_s=timeout_s)


def make_request(repository: Path, load: Load) -> BenchmarkRequest:
    """Draw the points of a request, the same each time. Its logits are onnxruntime's outputs of the published model."""
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
    """Check a response of this server, then load it for some time. `CPU` and `ROWS_A_RUN` come from its counts.

    Raises:
        LoadGeneratorFailed: If h2load fails, or requests do.
        WrongAnswer: If the response is not as expected.
    """
    message = encode_request(model, request)
    response_bytes = _check_and_size_answer(fast_path, message, request)
    before = read_work_done(fast_path, model)
    metrics = _ask(fast_path, load, message, response_bytes, seconds, work)
    done = read_work_done(fast_path, model) - before
    return {**metrics, CPU: 1e6 * done.cpu_seconds * load.rows / done.rows, ROWS_A_RUN: done.rows / done.runs}


def _check_and_size_answer(server: ServerProcess, message: bytes, request: BenchmarkRequest) -> int:
    """Send one request, compare the logits, and return the size of the response in bytes."""
    with grpc.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        infer: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(INFER_METHOD)
        try:
            payload: bytes = infer(message, timeout=_TIMEOUT_S)
        except grpc.RpcError as error:
            raise WrongAnswer(f"a request to {server.name} failed: {error.code().name}: {error.details()}") from error
    check_logits(server.name, read_logits(server.name, pb.ModelInferResponse.FromString(payload)), request)
    return len(payload)


@contextlib.contextmanager
def _running_bound(bound: str, repository: Path, first: Load, seconds: float, work: Path) -> Iterator[_Turn]:
    """Start the bound of the fast path, and yield a function that measures it at a load."""
    if bound == CONSTANT:
        model = model_of(first.hidden)
        folder = servers.folder_of_server(work, CONSTANT, model)
        with servers.start_constant(folder, model, make_request(repository, first)) as server:

            def ask(load: Load, request: BenchmarkRequest) -> Metrics:
                message = encode_request(model, request)
                return _ask(server, load, message, _check_and_size_answer(server, message, request), seconds, work)

            yield ask
        return

    def run(load: Load, request: BenchmarkRequest) -> Metrics:
        batches = write_batches(work / "growth-batches.npz", [[request] * load.in_flight])
        measured = measure_model(graphs_of(repository / model_of(load.hidden) / "1"), batches, seconds)
        # The median, because a bound must not be too high: other work on the machine slows some of the calls.
        return {COST: 1e3 * measured["p50 ms"] / load.in_flight}

    yield run


def _ask(server: ServerProcess, load: Load, message: bytes, response_bytes: int, seconds: float, work: Path) -> Metrics:
    # h2load's clients connect within the warm-up, at about 4,000 connections per second.
    warm_up = 0.3 + load.connections / 2000
    settings = LoadSettings("h2load", load.in_flight, load.connections, warm_up=warm_up)
    metrics = run_h2load(settings, seconds, grpc_target(server.port, message, response_bytes), work)
    return {COST: 1e6 / metrics["requests/s"], "p50 ms": metrics["p50 ms"], "p99 ms": metrics["p99 ms"]}


def _check_open_files(connections: int) -> None:
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    if 0 <= most < connections + _SPARE_FILES:
        needed = connections + _SPARE_FILES
        raise LoadGeneratorFailed(
            f"the measurement needs {needed:,} open files, but a process may have only {most:,}; raise the limit with "
            "ulimit -n"
        )
