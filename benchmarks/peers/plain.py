"""Textbook servers: `python -m benchmarks.peers.plain aio|threads MODEL MODEL.ONNX`, one inference call per request.

They are the servers of a tutorial on serving a model over gRPC, with grpc.aio, or with grpc.server and its thread pool.
They implement the methods of the protocol that perf_analyzer calls. They do not check, batch or limit requests.
"""

import asyncio
import sys
from collections.abc import Awaitable, Callable
from concurrent import futures
from typing import Any

import grpc
import numpy as np

from benchmarks.peers.walk_model import WalkModel
from rnnserve.protos import inference_pb2 as pb
from rnnserve.protos import inference_pb2_grpc as rpc
from rnnserve.protos import model_config_pb2 as config

_THREADS = 8


class _ProtocolModel:
    """A model behind the protocol's messages."""

    def __init__(self, name: str, path: str) -> None:
        self.name = name
        self._model = WalkModel(path)

    def infer(self, request: pb.ModelInferRequest) -> pb.ModelInferResponse:
        shape = tuple(request.inputs[0].shape)  # (batch, sequence, features)
        logits = self._model.run(np.frombuffer(request.raw_input_contents[0], "<f4").reshape(shape))
        response = pb.ModelInferResponse(
            model_name=self.name, model_version="1", id=request.id, raw_output_contents=[logits.tobytes()]
        )
        response.outputs.add(name="logits", datatype="FP32", shape=logits.shape)
        return response


def _methods(model: _ProtocolModel) -> dict[str, Callable[[Any], Any]]:
    metadata = pb.ModelMetadataResponse(name=model.name, versions=["1"], platform="onnxruntime_onnx")
    metadata.inputs.add(name="input", datatype="FP32", shape=[-1, -1, 2])
    metadata.outputs.add(name="logits", datatype="FP32", shape=[-1, 2])
    described = pb.ModelConfigResponse()
    described.config.name = model.name
    described.config.input.add(name="input", data_type=config.TYPE_FP32, dims=[-1, -1, 2])
    described.config.output.add(name="logits", data_type=config.TYPE_FP32, dims=[-1, 2])
    return {
        "ServerLive": lambda _: pb.ServerLiveResponse(live=True),
        "ServerReady": lambda _: pb.ServerReadyResponse(ready=True),
        "ModelReady": lambda _: pb.ModelReadyResponse(ready=True),
        "ServerMetadata": lambda _: pb.ServerMetadataResponse(name="plain", version="1"),
        "ModelMetadata": lambda _: metadata,
        "ModelConfig": lambda _: described,
        "ModelInfer": model.infer,
    }


def _serve_with_threads(model: _ProtocolModel) -> None:
    servicer = _make_servicer({name: _as_method(answer) for name, answer in _methods(model).items()})
    server = grpc.server(futures.ThreadPoolExecutor(_THREADS))
    rpc.add_GRPCInferenceServiceServicer_to_server(servicer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    print(f"gRPC on 127.0.0.1:{port}", flush=True)
    server.wait_for_termination()


async def _serve_with_aio(model: _ProtocolModel) -> None:
    servicer = _make_servicer({name: _as_async_method(answer) for name, answer in _methods(model).items()})
    server = grpc.aio.server()
    rpc.add_GRPCInferenceServiceServicer_to_server(servicer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    print(f"gRPC on 127.0.0.1:{port}", flush=True)
    await server.wait_for_termination()


def _make_servicer(methods: dict[str, Callable[[Any, Any], Any]]) -> rpc.GRPCInferenceServiceServicer:
    """Return a servicer with these methods. The others stay unimplemented, as in grpcio's base class."""
    made: rpc.GRPCInferenceServiceServicer = type(
        "Textbook",
        (rpc.GRPCInferenceServiceServicer,),
        {name: staticmethod(method) for name, method in methods.items()},
    )()
    return made


def _as_method(answer: Callable[[Any], Any]) -> Callable[[Any, Any], Any]:
    return lambda request, _: answer(request)


def _as_async_method(answer: Callable[[Any], Any]) -> Callable[[Any, Any], Awaitable[Any]]:
    async def method(request: object, _: object) -> object:
        return answer(request)

    return method


def main(kind: str, name: str, path: str) -> None:
    """Serve one model until the process is terminated."""
    model = _ProtocolModel(name, path)
    if kind == "aio":
        asyncio.run(_serve_with_aio(model))
    else:
        _serve_with_threads(model)


if __name__ == "__main__":
    main(*sys.argv[1:4])
