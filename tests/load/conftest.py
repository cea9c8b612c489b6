# ruff: noqa: N802, ARG002 - the fake's methods have the names and arguments of the protocol's

import asyncio
import json
import selectors
import threading
from dataclasses import dataclass, field
from types import SimpleNamespace

import grpc
import numpy as np
import pytest

from kit.fakes import serving
from kit.forked_generators import forked_context
from rnnserve.cli import main
from rnnserve.client.metadata import ModelMetadata, TensorMetadata
from rnnserve.load import generator_processes
from rnnserve.load.latency_counts import count_latencies
from rnnserve.load.latency_objective import parse_objective
from rnnserve.load.load_level import LoadLevel, LoadResult
from rnnserve.load.load_statistics import LoadStatistics
from rnnserve.load.load_test import LoadTest
from rnnserve.load.run_description import RunDescription
from rnnserve.load.server_inspector import ServerIdentity
from rnnserve.load.size_distribution import parse_size_distribution
from rnnserve.load.workload import WorkloadSpec
from rnnserve.protos import inference_pb2 as pb
from rnnserve.protos.inference_pb2_grpc import GRPCInferenceServiceServicer

WALK_LABELS = ("counter-clockwise", "clockwise")


def turns(points, length):
    """1 where a walk (sequence, 2) goes clockwise, else 0, by the sign of its first turn round the origin."""
    (a, b), (c, d) = points[0], points[1]
    return int(length > 1 and a * d - b * c < 0)


@dataclass
class WalkService(GRPCInferenceServiceServicer):
    """Tells the direction of walks by geometry, or fails as it is told to."""

    requests: list = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)
    inverted: bool = False
    failure: tuple | None = None
    answer: pb.ModelInferResponse | None = None
    typed: bool = False
    ready: tuple = ("walks",)
    statistics: bool = False

    def ServerMetadata(self, request, context):
        return pb.ServerMetadataResponse(name="geometry", version="7")

    def RepositoryIndex(self, request, context):
        return pb.RepositoryIndexResponse(
            models=[pb.RepositoryIndexResponse.ModelIndex(name=name, version="1", state="READY") for name in self.ready]
        )

    def ModelMetadata(self, request, context):
        if request.name not in ("walks", "others"):
            context.abort(grpc.StatusCode.NOT_FOUND, f'no model "{request.name}"')
        answer = pb.ModelMetadataResponse(name=request.name, versions=["1"], platform="geometry")
        answer.inputs.add(name="input", datatype="FP32", shape=(-1, -1, 2))
        lengths = answer.inputs.add(name="lengths", datatype="INT64", shape=(-1,))
        lengths.parameters["optional"].bool_param = True
        answer.outputs.add(name="logits", datatype="FP32", shape=(-1, 2))
        if request.name == "walks":
            answer.properties["labels"] = json.dumps(WALK_LABELS)
        return answer

    def ModelStatistics(self, request, context):
        if not self.statistics:
            context.abort(grpc.StatusCode.UNIMPLEMENTED, "no statistics are kept")
        batch = pb.InferBatchStatistics(batch_size=1)
        batch.compute_infer.count = len(self.requests)
        return pb.ModelStatisticsResponse(model_stats=[pb.ModelStatistics(name=request.name, batch_stats=[batch])])

    def ModelInfer(self, request, context):
        with self.lock:
            self.requests.append(request)
        if self.failure is not None:
            context.abort(*self.failure)
        if self.answer is not None:
            return self.answer
        tensors = {
            tensor.name: np.frombuffer(raw, "<f4" if tensor.datatype == "FP32" else "<i8").reshape(tensor.shape)
            for tensor, raw in zip(request.inputs, request.raw_input_contents, strict=True)
        }
        walks = tensors["input"]
        lengths = tensors.get("lengths", np.full(len(walks), walks.shape[1]))
        classes = [turns(walk, length) if length > 1 else 0 for walk, length in zip(walks, lengths, strict=True)]
        logits = np.eye(2, dtype="<f4")[[1 - index for index in classes] if self.inverted else classes]
        answer = pb.ModelInferResponse(model_name=request.model_name, model_version="1")
        output = answer.outputs.add(name="logits", datatype="FP32", shape=logits.shape)
        if self.typed:
            output.contents.fp32_contents.extend(logits.ravel().tolist())
        else:
            answer.raw_output_contents.append(logits.tobytes())
        return answer


@pytest.fixture(scope="session")
def _walk_server():
    service = WalkService()  # type: ignore[abstract]
    with serving(service) as address:
        yield service, address


@pytest.fixture
def walks(_walk_server):
    """The fake, as new for every test."""
    service, _ = _walk_server
    for name, value in vars(WalkService()).items():  # type: ignore[abstract]
        setattr(service, name, value)
    return service


@pytest.fixture
def address(_walk_server, walks):
    del walks  # is fresh once it was asked for
    return _walk_server[1]


def metadata(name="walks", *, features=2, labels=WALK_LABELS, ragged=True, states=False):
    inputs = {"input": TensorMetadata("input", "FP32", (-1, -1, features))}
    if ragged:
        inputs["lengths"] = TensorMetadata("lengths", "INT64", (-1,), optional=True, lengths_of="sequence")
    if states:
        inputs["h_0"] = TensorMetadata("h_0", "FP32", (2, -1, 3))
    outputs = {"logits": TensorMetadata("logits", "FP32", (-1, 2))}
    if states:
        outputs["h_n"] = TensorMetadata("h_n", "FP32", (2, -1, 3), continues_as="h_0")
    return ModelMetadata(name, ("1",), "geometry", inputs, outputs, labels)


@pytest.fixture(name="metadata")
def _metadata():
    return metadata


@pytest.fixture
def spec():
    """Makes a WorkloadSpec of one model, or of several with their weights."""

    def make(*models, length="4", batch="1", weights=None, **settings):
        models = models or (metadata(),)
        weights = weights or {model.name: 1.0 for model in models}
        return WorkloadSpec(
            models, weights, parse_size_distribution(length), parse_size_distribution(batch), **settings
        )

    return make


@pytest.fixture
def result():
    """Makes a LoadResult whose latencies and lags are given in milliseconds; requests were due evenly in a second."""

    def make(
        latencies=(1.0,),
        *,
        lags=(0.0,),
        rate=100.0,
        cpu=0.1,
        seconds=1.0,
        batches=None,
        closed=0,
        sessions=0,
        look=None,
        settings=(),
        **sums,
    ):
        failed = sum(sums.get("errors", {}).values())
        statistics = LoadStatistics(
            sent=len(latencies) + failed, answered=len(latencies), in_time=len(latencies), cpu=[cpu], **sums
        )
        statistics.latency.record((np.array(latencies) * 1e6).astype(np.int64))
        statistics.lag.record((np.array(lags) * 1e6).astype(np.int64))
        due = np.linspace(0, 1e9, len(latencies), endpoint=False).astype(np.int64)  # (requests,)
        sent = due + np.resize(np.array(lags) * 1e6, len(latencies)).astype(np.int64)
        statistics.times = (due, sent, due + (np.array(latencies) * 1e6).astype(np.int64))  # type: ignore[attr-defined]
        level = LoadLevel(
            rate=0 if closed or sessions else rate,
            closed=closed,
            sessions=sessions,
            think=0.01 if sessions else 0.0,
            duration=1.0,
            **dict(settings),
        )
        return LoadResult(level, statistics, seconds, batches, look)

    return make


@pytest.fixture
def load_test():
    """Makes a LoadTest that has been run, with these results."""

    def make(results, slo=None, models=("walks",), confidence=0.99):
        objective = parse_objective(slo, confidence) if slo else None
        for result in results if objective else ():
            count_over(result, objective)
        return LoadTest(None, None, models, None, objective, results=list(results))

    return make


def count_over(result, objective):
    """Counts the requests of a fixture's result that are over the limits of an objective."""
    due, sent, done = result.statistics.times
    answered = np.ones(len(due), bool)
    result.statistics.counts = count_latencies(objective.durations, due, sent, done, answered, begin=0, end=10**9)


@pytest.fixture(name="count_over")
def _count_over():
    return count_over


@pytest.fixture
def sweep(result):
    """Results of seven rates, with latencies that grow with the rate."""
    random = np.random.default_rng(1)
    return [
        result(random.exponential(rate / 100, 500), rate=rate, batches={1: 400, 3: 20}, checked=500, wrong=0)
        for rate in (100, 200, 400, 800, 1600, 3200, 6400)
    ]


@pytest.fixture
def run():
    return RunDescription(
        started="2026-11-25T01:00:00+00:00",
        command="rnnserve load '<b>&'",
        address="127.0.0.1:1",
        server=ServerIdentity("geometry", "7"),
        models=(metadata(),),
        machine={"processor": "abacus <1>"},
        workload={"lengths": "4"},
        repeatable={"models": {"walks": 1.0}, "length": "4"},
    )


@pytest.fixture(scope="session")
def _forked():
    with forked_context() as context:
        yield context


@pytest.fixture
def generators(_forked, monkeypatch):
    """Has generators be forks of one process."""
    monkeypatch.setattr(generator_processes, "multiprocessing", SimpleNamespace(get_context=lambda _: _forked))


@pytest.fixture
def load(address, capsys, generators):
    """Runs `rnnserve load`; returns exit status, output and errors."""

    def run(*words, url=address):
        status = main(["load", "--url", url, *words])
        said = capsys.readouterr()
        return status, said.out, said.err

    return run


@pytest.fixture
def measured(load):
    """Runs `rnnserve load` and returns its exit status and its one point."""

    def run(*words):
        status, output, _ = load(*words, "--json", "-")
        (point,) = json.loads(output)["points"]
        return status, point

    return run


class VirtualTime(asyncio.SelectorEventLoop):
    """An event loop that does not wait but moves its clock."""

    def __init__(self):
        self.now = 0
        real = selectors.SelectSelector()
        super().__init__(real)
        select = real.select

        def moved(timeout=None):
            self.now += round((timeout or 0) * 1e9)
            return select(0)

        real.select = moved  # type: ignore[method-assign]

    def time(self):
        return self.now / 1e9

    def clock(self):
        self.now += 1  # so that waiting for a time by looking at the clock comes to an end
        return self.now


@pytest.fixture
def loop():
    loop = VirtualTime()
    yield loop
    loop.close()
