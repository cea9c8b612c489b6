# ruff: noqa: N802, ARG002 - the fake's methods have the names and arguments of the protocol's

import asyncio
import json
import threading
from dataclasses import dataclass, field

import grpc
import numpy as np
import pytest

from kit.fakes import serving
from rnnserve.client import AsyncClient, Client
from rnnserve.protos import inference_pb2 as pb
from rnnserve.protos.inference_pb2_grpc import GRPCInferenceServiceServicer

LABELS = ("left", "right", "level")
DTYPES = {"FP32": "<f4", "INT64": "<i8", "FP64": "<f8"}


@dataclass
class FakeService(GRPCInferenceServiceServicer):
    """Speaks the protocol over arithmetic that a test can redo: sums of points.

    `sums` (2 features, hidden 2, one layer): h_n = h_0 + the sum of the row's own points; output is the running sum;
    logits = (x, y, points). `sums_lstm` counts points in c_n as well. `stranger` is what another server would serve:
    nothing optional, no labels, no axes, no `lengths`, typed contents.
    """

    requests: list = field(default_factory=list)
    described: list = field(default_factory=list)
    calls: list = field(default_factory=list)
    failure: tuple | None = None
    failing: set | None = None
    fail_from: int = 0
    labels: object = LABELS
    version: str = "3"
    features: int = 2
    blocked: threading.Event | None = None
    live: bool = True

    def ServerLive(self, request, context):
        self._enter("ServerLive", context)
        return pb.ServerLiveResponse(live=self.live)

    def ServerReady(self, request, context):
        self._enter("ServerReady", context)
        return pb.ServerReadyResponse(ready=True)

    def ModelReady(self, request, context):
        self._enter("ModelReady", context)
        return pb.ModelReadyResponse(ready=request.name != "later")

    def ModelMetadata(self, request, context):
        self.described.append(request)
        self._enter("ModelMetadata", context)
        if request.name not in ("sums", "sums_lstm", "stranger"):
            context.abort(grpc.StatusCode.NOT_FOUND, f'no model "{request.name}"')
        known = request.name != "stranger"
        answer = pb.ModelMetadataResponse(name=request.name, versions=[self.version], platform="arithmetic")
        state = "layers * directions, batch, hidden"
        inputs: list[tuple[str, str, tuple[int, ...], str, bool]]
        inputs = [("input", "FP32", (-1, -1, self.features), "batch, sequence, features", False)]
        inputs += [("lengths", "INT64", (-1,), "batch", True)] if known else []
        inputs += [(name, "FP32", (1, -1, self.features), state, True) for name in self._states(request.name, "0")]
        outputs: list[tuple[str, tuple[int, ...]]] = [
            ("logits", (-1, self.features + 1)),
            ("output", (-1, -1, self.features)),
        ]
        outputs += [(name, (1, -1, self.features)) for name in self._states(request.name, "n")]
        for name, datatype, shape, axes, optional in inputs:
            tensor = answer.inputs.add(name=name, datatype=datatype, shape=shape)
            if known:
                tensor.parameters["axes"].string_param = axes
                tensor.parameters["optional"].bool_param = optional
        for name, shape in outputs:
            answer.outputs.add(name=name, datatype="FP32", shape=shape)
        if known and self.labels is not None:
            answer.properties["labels"] = json.dumps(self.labels)
        return answer

    def ModelInfer(self, request, context):
        self.requests.append(request)
        self._enter("ModelInfer", context)
        tensors = {
            tensor.name: np.frombuffer(raw, DTYPES[tensor.datatype]).reshape(tensor.shape)
            for tensor, raw in zip(request.inputs, request.raw_input_contents, strict=True)
        }
        outputs = tensors if request.model_name == "echo" else self._sums(tensors)
        names = [output.name for output in request.outputs] or list(outputs)
        answer = pb.ModelInferResponse(model_name=request.model_name, model_version=self.version, id=request.id)
        for name in names:
            datatype = next(key for key, dtype in DTYPES.items() if np.dtype(dtype) == outputs[name].dtype)
            output = answer.outputs.add(name=name, datatype=datatype, shape=outputs[name].shape)
            if request.model_name == "stranger":
                output.contents.fp32_contents.extend(outputs[name].ravel().tolist())
            else:
                answer.raw_output_contents.append(outputs[name].tobytes())
        return answer

    @staticmethod
    def _states(model, end):
        return [f"h_{end}", f"c_{end}"] if model == "sums_lstm" else [f"h_{end}"]

    @staticmethod
    def _sums(tensors):
        points = tensors["input"].astype("<f4")
        batch, sequence, features = points.shape
        lengths = tensors.get("lengths", np.full(batch, sequence))
        inside = (np.arange(sequence) < lengths[:, None])[..., None]
        h_0 = tensors.get("h_0", np.zeros((1, batch, features), "<f4"))
        c_0 = tensors.get("c_0", np.zeros((1, batch, 2), "<f4"))
        running = (np.cumsum(points * inside, axis=1, dtype="<f4") + h_0[0][:, None]).astype("<f4")
        final = running[:, -1]
        count = lengths[:, None].astype("<f4")
        return {
            "logits": np.concatenate([final, count], axis=1),
            "output": (running * inside).astype("<f4"),
            "h_n": final[None],
            "c_n": (c_0 + count).astype("<f4"),
        }

    def _enter(self, method, context):
        self.calls.append(method)
        if self.blocked is not None:
            self.blocked.wait(10)
        if self.failing is not None and method not in self.failing:
            return
        if self.failure is not None and self.calls.count(method) > self.fail_from:
            context.abort(*self.failure)


@pytest.fixture(scope="session")
def _server():
    service = FakeService()  # type: ignore[abstract]
    with serving(service) as address:
        yield service, address


@pytest.fixture
def service(_server):
    """The fake, as new for every test."""
    service, _ = _server
    for name, value in vars(FakeService()).items():  # type: ignore[abstract]
        setattr(service, name, value)
    yield service
    if service.blocked is not None:
        service.blocked.set()


@pytest.fixture
def url(_server, service):
    del service  # is fresh once it was asked for
    return _server[1]


class Awaited:
    """An AsyncClient whose methods are awaited for the caller, so that one test speaks for both clients."""

    def __init__(self, *args, **settings):
        self.runner = asyncio.Runner()
        self.client = AsyncClient(*args, **settings)

    def __getattr__(self, name):
        return lambda *args, **named: self.runner.run(getattr(self.client, name)(*args, **named))


@pytest.fixture(params=[Client, Awaited], ids=["sync", "async"])
def connect(request, url):
    """Makes clients of either kind, with any settings, and closes them."""
    clients = []

    def make(address=url, **settings):
        clients.append(request.param(address, **settings))
        return clients[-1]

    yield make
    for client in clients:
        client.close()
        if isinstance(client, Awaited):
            client.runner.close()


@pytest.fixture
def client(connect):
    return connect()


@pytest.fixture
def servers():
    """Three servers that are fakes."""
    from .fleet import Served  # which needs this file's fake

    started = [Served.start() for _ in range(3)]
    yield started
    for each in started:
        if each.service.blocked is not None:
            each.service.blocked.set()
        each.server.stop(None).wait()
