# ruff: noqa: N802, ARG002 - a fake's methods have the names and arguments of the protocol's
"""The fake server of the client's, the load test's and the gateway's tests: its models are arithmetic, or fail."""

import contextlib
import json
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent import futures
from dataclasses import dataclass, field
from typing import Any

import grpc
import numpy as np
from grpc_health.v1 import health, health_pb2_grpc

from rnnserve.protos import inference_pb2 as pb
from rnnserve.protos import inference_pb2_grpc as rpc
from rnnserve.protos.datatypes import DTYPES, datatype_of

Arrays = dict[str, Any]
_CONTENTS = {"FP32": "fp32_contents", "FP64": "fp64_contents", "INT64": "int64_contents"}

_Servicer: Any = rpc.GRPCInferenceServiceServicer
"""The methods that a fake leaves out answer UNIMPLEMENTED; the stub calls them abstract."""


@dataclass
class FakeModel:
    """A model that a test describes and computes.

    Attributes:
        inputs: For each input, datatype, axes (a name where the size is dynamic, else name and size) and parameters.
        outputs: For each output the same.
        compute: From arrays by input name to arrays by output name.
        properties: The model's, "batching" for example.
        labels: Names of its classes; None for none.
        is_foreign: Whether another server serves it, which names no axes, has no parameters, and answers in typed
            contents.
    """

    inputs: Mapping[str, tuple[Any, ...]]
    outputs: Mapping[str, tuple[Any, ...]]
    compute: Callable[[Arrays], Arrays]
    properties: Mapping[str, str] = field(default_factory=dict)
    labels: Any = ()
    is_foreign: bool = False

    def describe(self, name: str, version: str) -> pb.ModelMetadataResponse:
        """Describe the model as the protocol does."""
        answer = pb.ModelMetadataResponse(name=name, versions=[version], platform="fake")
        for tensors, described in ((self.inputs, answer.inputs), (self.outputs, answer.outputs)):
            for tensor, (datatype, axes, *parameters) in tensors.items():
                sizes = [-1 if isinstance(axis, str) else axis[1] for axis in axes]
                added = described.add(name=tensor, datatype=datatype, shape=sizes)
                if not self.is_foreign:
                    names = ", ".join(axis if isinstance(axis, str) else axis[0] for axis in axes)
                    _set_parameters(added.parameters, {"axes": names, **(parameters[0] if parameters else {})})
        answer.properties.update(self.properties)
        if self.labels is not None:
            answer.properties["labels"] = json.dumps(self.labels)
        return answer


def _set_parameters(parameters: Any, values: Mapping[str, Any]) -> None:
    kinds = {bool: "bool_param", int: "int64_param", float: "double_param", str: "string_param"}
    for name, value in values.items():
        setattr(parameters[name], kinds[type(value)], value)


@dataclass
class FakeModels(_Servicer):  # type: ignore[misc]
    """Serves fake models, records the calls, and fails or blocks when a test wants it.

    Attributes:
        models: By name.
        release: The server's own name and version.
        version: The version of every model.
        is_live: Whether the server says that it is live.
        has_statistics: Whether the server counts batches.
        failure: Status and message of every call that fails; None for none.
        failing: Methods that fail; None for all.
        fail_from: Number of calls of a method that succeed before it fails.
        blocked: Calls wait until this event is set; None if they don't wait.
        answer: The answer to every inference request; None to compute it.
        calls: Names of the methods that were called.
        described: The metadata requests.
        requests: The inference requests.
        asked: The tensors of each inference request that was computed, by name.
    """

    models: dict[str, FakeModel]
    release: tuple[str, str] = ("fake", "1")
    version: str = "1"
    is_live: bool = True
    has_statistics: bool = False
    failure: tuple[grpc.StatusCode, str] | None = None
    failing: set[str] | None = None
    fail_from: int = 0
    blocked: threading.Event | None = None
    answer: pb.ModelInferResponse | None = None
    calls: list[str] = field(default_factory=list)
    described: list[Any] = field(default_factory=list)
    requests: list[Any] = field(default_factory=list)
    asked: list[Arrays] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def ServerLive(self, request: Any, context: Any) -> pb.ServerLiveResponse:
        self._enter("ServerLive", context)
        return pb.ServerLiveResponse(live=self.is_live)

    def ServerReady(self, request: Any, context: Any) -> pb.ServerReadyResponse:
        self._enter("ServerReady", context)
        return pb.ServerReadyResponse(ready=True)

    def ModelReady(self, request: Any, context: Any) -> pb.ModelReadyResponse:
        self._enter("ModelReady", context)
        return pb.ModelReadyResponse(ready=request.name in self.models)

    def ServerMetadata(self, request: Any, context: Any) -> pb.ServerMetadataResponse:
        name, version = self.release
        return pb.ServerMetadataResponse(name=name, version=version)

    def RepositoryIndex(self, request: Any, context: Any) -> pb.RepositoryIndexResponse:
        index = pb.RepositoryIndexResponse.ModelIndex
        return pb.RepositoryIndexResponse(
            models=[index(name=name, version=self.version, state="READY") for name in self.models]
        )

    def ModelStatistics(self, request: Any, context: Any) -> pb.ModelStatisticsResponse:
        if not self.has_statistics:
            context.abort(grpc.StatusCode.UNIMPLEMENTED, "no statistics are kept")
        batch = pb.InferBatchStatistics(batch_size=1)
        batch.compute_infer.count = len(self.requests)
        return pb.ModelStatisticsResponse(model_stats=[pb.ModelStatistics(name=request.name, batch_stats=[batch])])

    def ModelMetadata(self, request: Any, context: Any) -> pb.ModelMetadataResponse:
        self.described.append(request)
        self._enter("ModelMetadata", context)
        return self._model(request.name, context).describe(request.name, self.version)

    def ModelInfer(self, request: Any, context: Any) -> pb.ModelInferResponse:
        with self.lock:
            self.requests.append(request)
        self._enter("ModelInfer", context)
        if self.answer is not None:
            return self.answer
        model = self._model(request.model_name, context)
        tensors = {
            tensor.name: np.frombuffer(raw, DTYPES[tensor.datatype]).reshape(tensor.shape)
            for tensor, raw in zip(request.inputs, request.raw_input_contents, strict=True)
        }
        with self.lock:
            self.asked.append(tensors)
        outputs = model.compute(tensors)
        answer = pb.ModelInferResponse(model_name=request.model_name, model_version=self.version, id=request.id)
        for name in [output.name for output in request.outputs] or list(outputs):
            array = np.asarray(outputs[name])
            output = answer.outputs.add(name=name, datatype=datatype_of(array.dtype), shape=array.shape)
            if model.is_foreign:
                getattr(output.contents, _CONTENTS[output.datatype]).extend(array.ravel().tolist())
            else:
                answer.raw_output_contents.append(array.tobytes())
        return answer

    def _model(self, name: str, context: Any) -> FakeModel:
        if name not in self.models:
            context.abort(grpc.StatusCode.NOT_FOUND, f'no model "{name}"')
        return self.models[name]

    def _enter(self, method: str, context: Any) -> None:
        with self.lock:
            self.calls.append(method)
            calls = self.calls.count(method)
        if self.blocked is not None:
            self.blocked.wait(10)
        if self.failure is not None and calls > self.fail_from and (self.failing is None or method in self.failing):
            context.abort(*self.failure)


def renew(service: FakeModels, new: FakeModels) -> None:
    """Make a fake that is served already like a new one."""
    for name, value in vars(new).items():
        setattr(service, name, value)


@contextlib.contextmanager
def serving(
    service: rpc.GRPCInferenceServiceServicer,
    credentials: grpc.ServerCredentials | None = None,
    *,
    states: health.HealthServicer | None = None,
    address: str = "127.0.0.1:0",
) -> Iterator[str]:
    """Serve a fake, on a free port of this machine unless an address is given.

    Args:
        service: The fake.
        credentials: For TLS; None for none.
        states: The server's states for gRPC's own health checks; None for no such service.
        address: Where to listen.

    Yields:
        The server's address.
    """
    options = [("grpc.max_receive_message_length", -1), ("grpc.so_reuseport", 0)]
    server = grpc.server(futures.ThreadPoolExecutor(24), options=options)
    rpc.add_GRPCInferenceServiceServicer_to_server(service, server)
    if states is not None:
        health_pb2_grpc.add_HealthServicer_to_server(states, server)
    port = server.add_secure_port(address, credentials) if credentials else server.add_insecure_port(address)
    server.start()
    try:
        yield f"{address.rpartition(':')[0]}:{port}"
    finally:
        server.stop(None).wait()
