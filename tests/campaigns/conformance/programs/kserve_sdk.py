"""KServe's SDK: its gRPC client, and the stubs of KServe's own proto for the methods that it lacks."""

import asyncio
from typing import Any

import grpc
import numpy as np
from google.protobuf.json_format import MessageToDict
from kserve import InferenceGRPCClient, InferInput, InferRequest, InferResponse
from kserve.protocol.grpc import grpc_predict_v2_pb2 as pb
from kserve.protocol.grpc.grpc_predict_v2_pb2_grpc import GRPCInferenceServiceStub as Stub

from campaigns.conformance.programs.arrays import same, walk_batch
from campaigns.conformance.programs.kserve_client import KServe, output, right
from campaigns.conformance.programs.reporting import PLAN, STATUSES, feature, statuses
from campaigns.conformance.programs.v2_calls import CLASSIFIER, MODEL, Way, client, inputs, refused, run_as, walk
from campaigns.conformance.programs.v2_features import take_steps


class Client(KServe):
    """The client of one of the plan's servers."""

    def __init__(self, server: str = "plain", **more: Any) -> None:
        super().__init__()
        self._address = PLAN["servers"][server]
        tls = {"use_ssl": True, "root_certificates": PLAN["ca"]} if server == "tls" else {}
        self.client = self.run(self._made(retries=0, **tls, **more))

    async def _made(self, **more: Any) -> InferenceGRPCClient:
        return InferenceGRPCClient(self._address, timeout=60, **more)

    async def send(self, request: InferRequest, **more: Any) -> InferResponse:
        return await self.client.infer(request, **more)

    def is_server_live(self) -> bool:
        return self.run(self.client.is_server_live())

    def is_server_ready(self) -> bool:
        return self.run(self.client.is_server_ready())

    def is_model_ready(self, model: str, _: str = "") -> bool:
        return self.run(self.client.is_model_ready(model))

    def _call(self, method: str, request: Any) -> dict[str, Any]:
        """Call a method of KServe's proto."""

        async def call() -> Any:
            async with grpc.aio.insecure_channel(self._address) as channel:
                return await getattr(Stub(channel), method)(request)

        return MessageToDict(self.run(call()), preserving_proto_field_name=True)

    def get_server_metadata(self) -> dict[str, Any]:
        return self._call("ServerMetadata", pb.ServerMetadataRequest())

    def get_model_metadata(self, model: str) -> dict[str, Any]:
        return self._call("ModelMetadata", pb.ModelMetadataRequest(name=model))

    def load_model(self, model: str) -> None:
        assert self._call("RepositoryModelLoad", pb.RepositoryModelLoadRequest(model_name=model))["isLoaded"]

    def unload_model(self, model: str) -> None:
        self._call("RepositoryModelUnload", pb.RepositoryModelUnloadRequest(model_name=model))


def typed(array: np.ndarray, name: str = "input", datatype: str = "FP32") -> InferInput:
    """An input in typed contents. The server takes no request that mixes them with raw contents."""
    found = InferInput(name, list(array.shape), datatype)
    found.set_data_from_numpy(array, binary_data=False)
    return found


def long_request() -> InferRequest:
    """A request that takes long to run."""
    return InferRequest(MODEL, inputs(np.zeros((500, 4096, 2), np.float32)))


@feature("infer-raw")
def infer() -> None:
    right(client().infer(MODEL, walk()[0]))


@feature("infer-typed")
def infer_typed() -> None:
    right(client().infer(MODEL, [typed(np.array([CLASSIFIER["walks"][0]], np.float32))]))


@feature("lengths")
def padded() -> None:
    points, lengths, logits = walk_batch(4)
    sent = [typed(points), typed(lengths, "lengths", "INT64")]
    same(client().infer(MODEL, sent).as_numpy("logits"), logits)


@feature("headers")
def headers() -> None:
    asked = client()
    asked.run(asked.send(InferRequest(MODEL, walk()[0]), headers=(("my-header", "a"),)))


@feature("error-details")
def error_details() -> None:
    error: Any = refused(lambda: client().infer(MODEL, inputs(np.zeros((1, 2, 3), np.float32))), "400")
    assert b"inputs[0].shape" in dict(error.trailing_metadata())["grpc-status-details-bin"]


@feature("deadline")
def deadline() -> None:
    asked = client()
    refused(lambda: asked.run(asked.send(long_request(), timeout=0.03)), "DEADLINE_EXCEEDED")
    right(asked.infer(MODEL, walk()[0]))


@feature("cancellation")
def cancellation() -> None:
    asked = client()

    async def cancelled() -> None:
        call = asyncio.ensure_future(asked.send(long_request()))
        await asyncio.sleep(0.03)
        assert call.cancel()
        await call

    try:
        asked.run(cancelled())
    except asyncio.CancelledError:
        right(asked.infer(MODEL, walk()[0]))
    else:
        raise AssertionError("the call was answered before it was cancelled")


@feature("compression")
def compression() -> None:
    points, lengths, logits = walk_batch(64)
    asked = client(channel_args=[("grpc.default_compression_algorithm", 2)])  # gzip
    same(asked.infer(MODEL, inputs(points) + inputs(lengths, "lengths", "INT64")).as_numpy("logits"), logits)


@feature("keepalive")
def keepalive() -> None:
    asked = client(channel_args=[("grpc.keepalive_time_ms", 200), ("grpc.keepalive_permit_without_calls", 1)])
    assert asked.is_server_live()
    asked.run(asyncio.sleep(1.0))
    right(asked.infer(MODEL, walk()[0]))


@feature("sequence-unary")
def sequence_unary() -> None:
    take_steps(client(), 70021)


if __name__ == "__main__":
    run_as(Way(Client, InferInput, output, statuses, STATUSES))
