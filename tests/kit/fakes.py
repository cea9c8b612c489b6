# ruff: noqa: N802, ARG002 - a fake's methods have the names and arguments of the protocol's
"""Fakes of a server, for the tests of clients."""

import contextlib
import json
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent import futures
from dataclasses import dataclass, field
from typing import Any

import grpc
import numpy as np

from rnnserve.protos import inference_pb2 as pb
from rnnserve.protos import inference_pb2_grpc as rpc
from rnnserve.protos.datatypes import DTYPES, datatype_of

Arrays = dict[str, Any]


@dataclass
class FakeModel:
    """A model that a test describes and computes.

    Attributes:
        inputs: For each input, datatype, axes (a name where the size is dynamic, else name and size) and parameters.
        outputs: For each output the same.
        compute: From arrays by input name to arrays by output name.
        properties: The model's, "batching" for example.
        labels: Of its classes.
    """

    inputs: Mapping[str, tuple[Any, ...]]
    outputs: Mapping[str, tuple[Any, ...]]
    compute: Callable[[Arrays], Arrays]
    properties: Mapping[str, str] = field(default_factory=dict)
    labels: tuple[str, ...] = ()

    def describe(self, name: str) -> pb.ModelMetadataResponse:
        """Describe the model as the protocol does."""
        answer = pb.ModelMetadataResponse(name=name, versions=["1"], platform="fake")
        for tensors, described in ((self.inputs, answer.inputs), (self.outputs, answer.outputs)):
            for tensor, (datatype, axes, *parameters) in tensors.items():
                sizes = [-1 if isinstance(axis, str) else axis[1] for axis in axes]
                added = described.add(name=tensor, datatype=datatype, shape=sizes)
                names = ", ".join(axis if isinstance(axis, str) else axis[0] for axis in axes)
                set_parameters(added.parameters, {"axes": names, **(parameters[0] if parameters else {})})
        answer.properties.update({**self.properties, "labels": json.dumps(list(self.labels))})
        return answer


def set_parameters(parameters: Any, values: Mapping[str, Any]) -> None:
    """Write the protocol's parameters."""
    kinds = {bool: "bool_param", int: "int64_param", float: "double_param", str: "string_param"}
    for name, value in values.items():
        setattr(parameters[name], kinds[type(value)], value)


@dataclass
class FakeModels(rpc.GRPCInferenceServiceServicer):
    """Serves fake models, and keeps what was asked.

    Attributes:
        models: By name.
        asked: The tensors of each inference request, by name, in the order of their arrival.
    """

    models: dict[str, FakeModel]
    asked: list[Arrays] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def ServerLive(self, request: Any, context: Any) -> pb.ServerLiveResponse:
        return pb.ServerLiveResponse(live=True)

    def ServerMetadata(self, request: Any, context: Any) -> pb.ServerMetadataResponse:
        return pb.ServerMetadataResponse(name="fake", version="1")

    def RepositoryIndex(self, request: Any, context: Any) -> pb.RepositoryIndexResponse:
        return pb.RepositoryIndexResponse(
            models=[
                pb.RepositoryIndexResponse.ModelIndex(name=name, version="1", state="READY") for name in self.models
            ]
        )

    def ModelStatistics(self, request: Any, context: Any) -> pb.ModelStatisticsResponse:
        return pb.ModelStatisticsResponse()

    def ModelMetadata(self, request: Any, context: Any) -> pb.ModelMetadataResponse:
        return self.models[request.name].describe(request.name)

    def ModelInfer(self, request: Any, context: Any) -> pb.ModelInferResponse:
        tensors = {
            tensor.name: np.frombuffer(raw, DTYPES[tensor.datatype]).reshape(tensor.shape)
            for tensor, raw in zip(request.inputs, request.raw_input_contents, strict=True)
        }
        with self.lock:
            self.asked.append(tensors)
        outputs = self.models[request.model_name].compute(tensors)
        answer = pb.ModelInferResponse(model_name=request.model_name, model_version="1")
        for name in [output.name for output in request.outputs] or list(outputs):
            array = np.asarray(outputs[name])
            answer.outputs.add(name=name, datatype=datatype_of(array.dtype), shape=array.shape)
            answer.raw_output_contents.append(array.tobytes())
        return answer


@contextlib.contextmanager
def serving(
    service: rpc.GRPCInferenceServiceServicer, credentials: grpc.ServerCredentials | None = None
) -> Iterator[str]:
    """Serve a fake on a free port of this machine, over TLS with credentials, and give its address."""
    options = [("grpc.max_receive_message_length", -1), ("grpc.so_reuseport", 0)]
    server = grpc.server(futures.ThreadPoolExecutor(4), options=options)
    rpc.add_GRPCInferenceServiceServicer_to_server(service, server)
    address = "127.0.0.1:0"
    port = server.add_secure_port(address, credentials) if credentials else server.add_insecure_port(address)
    server.start()
    yield f"127.0.0.1:{port}"
    server.stop(None).wait()
