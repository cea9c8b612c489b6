"""Clients of fake servers, blocking and asynchronous, and several such servers, for the client's tests."""

import asyncio
import contextlib
import io
import sys
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from grpc_health.v1 import health, health_pb2

from kit.fakes import FakeModel, FakeModels, renew, serving
from kit.waiting import until
from rnnserve.cli import main
from rnnserve.client import AsyncClient, Client

LABELS = ("left", "right", "level")


def sums(features=2, *, labels=LABELS, has_cell=False, is_foreign=False):
    """A classifier that adds points up: h_n is h_0 and the points of the row, the logits are h_n and the length.

    `output` is the running sum, and an LSTM counts points in c_n.
    """
    axes = (("layers * directions", 1), "batch", ("hidden", features))
    optional = {"optional": True}
    inputs = {
        "input": ("FP32", ("batch", "sequence", ("features", features))),
        "lengths": ("INT64", ("batch",), {"lengths_of": "sequence", "optional": True}),
        "h_0": ("FP32", axes, optional),
    }
    outputs = {
        "logits": ("FP32", ("batch", ("classes", features + 1))),
        "output": ("FP32", ("batch", "sequence", ("hidden", features))),
        "h_n": ("FP32", axes, {"continues_as": "h_0"}),
    }
    if has_cell:
        inputs["c_0"] = ("FP32", axes, optional)
        outputs["c_n"] = ("FP32", axes, {"continues_as": "c_0"})
    if is_foreign:
        del inputs["lengths"]
    return FakeModel(inputs, outputs, _add_up, labels=labels, is_foreign=is_foreign)


def _add_up(tensors):
    points = tensors["input"].astype("<f4")
    batch, sequence, features = points.shape
    lengths = tensors.get("lengths", np.full(batch, sequence))
    inside = (np.arange(sequence) < lengths[:, None])[..., None]
    zeros = np.zeros((1, batch, features), "<f4")
    running = np.cumsum(points * inside, axis=1, dtype="<f4") + tensors.get("h_0", zeros)[0][:, None]
    count = lengths[:, None].astype("<f4")
    return {
        "logits": np.concatenate([running[:, -1], count], axis=1),
        "output": running * inside.astype("<f4"),
        "h_n": running[:, -1][None],
        "c_n": tensors.get("c_0", zeros) + count,
    }


def new_service():
    """A fake of version 3 with `sums`, `sums_lstm`, `stranger` of another server, and `echo`."""
    models = {
        "sums": sums(),
        "sums_lstm": sums(has_cell=True),
        "stranger": sums(labels=None, is_foreign=True),
        "echo": FakeModel({}, {}, lambda tensors: tensors),
    }
    return FakeModels(models, version="3")


@pytest.fixture(scope="session")
def _server():
    service = new_service()
    with serving(service) as address:
        yield service, address


@pytest.fixture
def service(_server):
    """The fake, like a new one for every test."""
    service, _ = _server
    renew(service, new_service())
    yield service
    if service.blocked is not None:
        service.blocked.set()


@pytest.fixture
def url(_server, service):
    del service  # the fixture renews it
    return _server[1]


class Awaited:
    """An AsyncClient or AsyncSession whose methods a test calls without `await`."""

    def __init__(self, awaited, runner):
        self._awaited, self._runner = awaited, runner

    def __getattr__(self, name):
        value = getattr(self._awaited, name)
        if not callable(value):
            return value

        def call(*args, **named):
            result = value(*args, **named)
            return self._runner.run(result) if asyncio.iscoroutine(result) else result

        return call

    def session(self, *args, **named):
        return Awaited(self._awaited.session(*args, **named), self._runner)

    def __enter__(self):
        self._runner.run(self._awaited.__aenter__())
        return self

    def __exit__(self, *raised):
        self._runner.run(self._awaited.__aexit__(*raised))


@pytest.fixture(params=["sync", "async"])
def connect(request, url):
    """Makes clients of either kind, with any settings, and closes them."""
    clients: list[Any] = []

    def make(address=url, **settings):
        if request.param == "sync":
            clients.append(Client(address, **settings))
        else:
            clients.append(Awaited(AsyncClient(address, **settings), runner))
        return clients[-1]

    with asyncio.Runner() as runner:
        yield make
        for client in clients:
            client.close()


@pytest.fixture
def client(connect):
    return connect()


@pytest.fixture
def infer(url, capsys, monkeypatch):
    """Runs `rnnserve infer` with a standard input; returns exit status, output and errors."""

    def run(*words, stdin="", address=url):
        data = stdin if isinstance(stdin, bytes) else stdin.encode()
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data), encoding="utf-8"))
        status = main(["infer", *words, "--url", address])
        printed = capsys.readouterr()
        return status, printed.out, printed.err

    return run


@dataclass
class Served:
    """A fake that is served; `stop` ends it."""

    service: FakeModels
    states: health.HealthServicer
    address: str
    stop: contextlib.ExitStack

    def report(self, state):
        self.states.set("", health_pb2.HealthCheckResponse.ServingStatus.Value(state))


@contextlib.contextmanager
def started():
    service, states = new_service(), health.HealthServicer()
    with contextlib.ExitStack() as stack:
        yield Served(service, states, stack.enter_context(serving(service, states=states)), stack)
        if service.blocked is not None:
            service.blocked.set()


@pytest.fixture
def servers():
    """Three fakes."""
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(started()) for _ in range(3)]


def addresses_of(servers):
    return [each.address for each in servers]


def ask(client, times=1):
    for _ in range(times):
        assert client.infer("echo", {"input": [1.0]})["input"].tolist() == [1.0]


def counts(servers):
    """The number of inference requests that each server got."""
    return [each.service.calls.count("ModelInfer") for each in servers]


def reach_all(client, servers):
    """Ask until each server has answered, because connections aren't made at the same moment; then count from 0."""

    def all_answered():
        ask(client)
        return all(counts(servers))

    until(all_answered)
    for each in servers:
        each.service.calls.clear()
