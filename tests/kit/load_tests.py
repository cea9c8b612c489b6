"""A fake server that classifies walks, results of load tests from given latencies, and `rnnserve load` in-process."""

import itertools
import json
import multiprocessing
from collections import Counter
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from kit.fakes import FakeModel, FakeModels, renew, serving
from rnnserve.cli import main
from rnnserve.client.metadata import ModelMetadata, TensorMetadata
from rnnserve.load import generator_processes
from rnnserve.load.draws import parse_size_distribution
from rnnserve.load.load_level import LoadLevel, parse_objective
from rnnserve.load.load_result import LoadResult
from rnnserve.load.load_test import LoadTest
from rnnserve.load.results_document import RunDescription
from rnnserve.load.statistics import LoadStatistics
from rnnserve.load.workload import WorkloadSpec

__all__ = [
    "_walk_server", "address", "generators", "load", "load_test", "measured", "result", "run", "spec", "sweep", "walks",
]  # fmt: skip

STATUSES = {"DEADLINE_EXCEEDED": 4, "RESOURCE_EXHAUSTED": 8, "UNAVAILABLE": 14, "NOT_SENT": -2}

WALK_LABELS = ("counter-clockwise", "clockwise")


def direction(walk):
    """1 for a walk that goes clockwise round the origin, else 0, by the turn from its first point to its second."""
    (a, b), (c, d) = walk[:2]
    return int(a * d - b * c < 0)


def walk_model(labels=WALK_LABELS, *, drifts_after=None, is_foreign=False):
    """Classifies walks by geometry, and the other way round after some calls if it drifts."""
    calls = itertools.count()

    def classify(tensors):
        is_inverted = drifts_after is not None and next(calls) >= drifts_after
        walks = tensors["input"]
        lengths = tensors.get("lengths", np.full(len(walks), walks.shape[1]))
        classes = [direction(walk) if length > 1 else 0 for walk, length in zip(walks, lengths, strict=True)]
        return {"logits": np.eye(2, dtype="<f4")[[index ^ is_inverted for index in classes]]}

    lengths = ("INT64", ("batch",), {"lengths_of": "sequence", "optional": True})
    inputs: dict[str, Any] = {"input": ("FP32", ("batch", "sequence", ("features", 2)))}
    inputs |= {} if is_foreign else {"lengths": lengths}
    outputs = {"logits": ("FP32", ("batch", ("classes", 2)))}
    return FakeModel(inputs, outputs, classify, labels=labels, is_foreign=is_foreign)


def new_walks():
    return FakeModels({"walks": walk_model()})


@pytest.fixture(scope="session")
def _walk_server():
    service = new_walks()
    with serving(service) as address:
        yield service, address


@pytest.fixture
def walks(_walk_server):
    """The fake, like a new one for every test."""
    renew(_walk_server[0], new_walks())
    return _walk_server[0]


@pytest.fixture
def address(_walk_server, walks):
    del walks  # the fixture renews it
    return _walk_server[1]


def metadata(name="walks"):
    """What the server says of a classifier of walks."""
    inputs = {
        "input": TensorMetadata("input", "FP32", (-1, -1, 2)),
        "lengths": TensorMetadata("lengths", "INT64", (-1,), optional=True, lengths_of="sequence"),
    }
    outputs = {"logits": TensorMetadata("logits", "FP32", (-1, 2))}
    return ModelMetadata(name, ("1",), "geometry", inputs, outputs, WALK_LABELS)


@pytest.fixture
def spec():
    """Makes a WorkloadSpec of one model, or of several with their weights."""

    def make(*models, length="4", batch="1", weights=None, **settings):
        models = models or (metadata(),)
        weights = weights or {model.name: 1.0 for model in models}
        sizes = parse_size_distribution(length), parse_size_distribution(batch)
        return WorkloadSpec(models, weights, *sizes, **settings)

    return make


@pytest.fixture
def result():
    """Makes a LoadResult from latencies and lags in milliseconds; failed requests have none."""

    def make(
        latencies=(1.0,), *, lags=(0.0,), rate=100.0, cpu=0.1, seconds=1.0, batches=None, closed=0, sessions=0,
        early_end="", errors=None, **sums,
    ):  # fmt: skip
        failed = [STATUSES[name] for name, count in (errors or {}).items() for _ in range(count)]
        status = np.array([0] * len(latencies) + failed, np.int64)
        latency = (np.array([*latencies, *[0.0] * len(failed)]) * 1e6).astype(np.int64)
        lag = np.resize(np.array(lags) * 1e6, len(status)).astype(np.int64)
        statistics = LoadStatistics(
            latency, lag, np.zeros(len(status), int), status,
            in_time=len(latencies), errors=Counter(errors or {}), cpu=[cpu], **sums,
        )  # fmt: skip
        rate, think = 0 if closed or sessions else rate, 0.01 * bool(sessions)
        level = LoadLevel(rate=rate, closed=closed, sessions=sessions, think=think, duration=1.0)
        return LoadResult(level, statistics, seconds, early_end, batches)

    return make


@pytest.fixture
def load_test():
    """Makes a LoadTest that has been run, with these results."""

    def make(results, slo=None, models=("walks",), confidence=0.99):
        objective = parse_objective(slo, confidence) if slo else None
        return LoadTest(None, None, models, None, objective, results=list(results))

    return make


@pytest.fixture
def sweep(result):
    """Results of seven rates, with latencies that grow with the rate."""
    random = np.random.default_rng(1)
    return [
        result(random.exponential(rate / 100, 600), rate=rate, batches={1: 400, 3: 20}, compared=600, different=0)
        for rate in (100, 200, 400, 800, 1600, 3200, 6400)
    ]


@pytest.fixture
def run():
    return RunDescription(
        started="2026-11-25T01:00:00+00:00",
        command="rnnserve load '<b>&'",
        address="127.0.0.1:1",
        server=("geometry", "7"),
        models=(metadata(),),
        machine={"processor": "abacus <1>"},
        workload={"lengths": "4"},
        options={"models": {"walks": 1.0}, "length": "4"},
    )


@pytest.fixture
def generators(monkeypatch):
    """Forks generators from one process that has imported what they need: a tenth of the time to start each."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["rnnserve.load.generator_processes"])
    monkeypatch.setattr(generator_processes, "multiprocessing", SimpleNamespace(get_context=lambda _: context))


@pytest.fixture
def load(address, capsys, generators):
    """Runs `rnnserve load`; returns exit status, output and errors."""

    def run(*words, url=address):
        status = main(["load", "--url", url, *words])
        printed = capsys.readouterr()
        return status, printed.out, printed.err

    return run


@pytest.fixture
def measured(load):
    """Runs `rnnserve load`; returns its exit status and its one point."""

    def run(*words):
        status, output, _ = load(*words, "--json", "-")
        (point,) = json.loads(output)["points"]
        return status, point

    return run
