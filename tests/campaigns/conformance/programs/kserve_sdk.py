"""KServe's SDK: its gRPC client, and for methods that this leaves out, the stubs of KServe's own proto."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any

import grpc
import numpy as np
from kserve import InferenceGRPCClient as Client
from kserve import InferInput, InferRequest, InferResponse
from kserve.protocol.grpc import grpc_predict_v2_pb2 as pb
from kserve.protocol.grpc.grpc_predict_v2_pb2_grpc import GRPCInferenceServiceStub as Stub
from kserve.protocol.infer_type import RequestedOutput

from campaigns.conformance.programs.arrays import same, walk_batch
from campaigns.conformance.programs.reporting import PLAN, feature, run

CLASSIFIER, TEXT = PLAN["classifier"], PLAN["text"]
MODEL = CLASSIFIER["model"]


def trial(name: str, server: str = "plain", **more: Any) -> Callable[[Callable[[Client], Awaitable[None]]], Any]:
    """Register a coroutine function that gets a client of one of the servers."""

    def register(function: Callable[[Client], Awaitable[None]]) -> Any:
        async def tried() -> None:
            async with Client(PLAN["servers"][server], timeout=60, **more) as client:
                await function(client)

        return feature(name)(tried)

    return register


def stub_trial(name: str, server: str = "plain") -> Callable[[Callable[[Stub], Awaitable[None]]], Any]:
    """Register a coroutine function that gets a stub of KServe's proto."""

    def register(function: Callable[[Stub], Awaitable[None]]) -> Any:
        async def tried() -> None:
            async with grpc.aio.insecure_channel(PLAN["servers"][server]) as channel:
                await function(Stub(channel))

        return feature(name)(tried)

    return register


def tensor(array: np.ndarray, name: str = "input", datatype: str = "FP32", *, raw: bool = True) -> InferInput:
    found = InferInput(name, list(array.shape), datatype)
    found.set_data_from_numpy(array, binary_data=raw)
    return found


def request(*inputs: InferInput, model: str = MODEL, id: str = "", **more: Any) -> InferRequest:
    return InferRequest(model, list(inputs), request_id=id, **more)


def walk(index: int = 0, *, raw: bool = True) -> tuple[InferInput, np.ndarray]:
    """A walk as a batch of one row, and its logits (1, 2)."""
    points = np.array([CLASSIFIER["walks"][index]], np.float32)
    return tensor(points, raw=raw), np.array([CLASSIFIER["logits"][index]])


def logits_of(response: InferResponse) -> np.ndarray:
    output = response.get_output_by_name("logits")
    assert output is not None
    return output.as_numpy()


async def refused(call: Awaitable[Any], status: str, *words: str) -> grpc.aio.AioRpcError:
    """Check that a call is refused with a status and with a message that has all the words."""
    try:
        await call
    except grpc.aio.AioRpcError as error:
        assert error.code().name == status, error
        for word in words:
            assert word in (error.details() or ""), error
        return error
    raise AssertionError(f"expected {status}")


@trial("live")
async def live(client: Client) -> None:
    assert await client.is_server_live()


@trial("ready")
async def ready(client: Client) -> None:
    assert await client.is_server_ready()
    assert await client.is_model_ready(MODEL)
    assert not await client.is_model_ready("unknown")


@stub_trial("server-metadata")
async def server_metadata(stub: Stub) -> None:
    assert (await stub.ServerMetadata(pb.ServerMetadataRequest())).name == "rnnserve"


@stub_trial("model-metadata")
async def model_metadata(stub: Stub) -> None:
    metadata = await stub.ModelMetadata(pb.ModelMetadataRequest(name=MODEL))
    described = [(tensor.name, tensor.datatype, list(tensor.shape)) for tensor in metadata.inputs]
    assert described[0] == ("input", "FP32", [-1, -1, 2]), described


@trial("infer-raw")
async def infer(client: Client) -> None:
    sent, logits = walk()
    same(logits_of(await client.infer(request(sent))), logits)


@trial("infer-typed")
async def infer_typed(client: Client) -> None:
    sent, logits = walk(raw=False)
    same(logits_of(await client.infer(request(sent))), logits)


@trial("infer-integers")
async def infer_integers(client: Client) -> None:
    for row, logits in zip(TEXT["rows"], TEXT["logits"], strict=True):
        sent = tensor(np.array([row], np.int64), "tokens", "INT64")
        same(logits_of(await client.infer(request(sent, model=TEXT["model"]))), [logits])


@trial("infer-async")
async def infer_many(client: Client) -> None:
    count = len(CLASSIFIER["walks"])
    responses = await asyncio.gather(*(client.infer(request(walk(index % count)[0])) for index in range(200)))
    for index, response in enumerate(responses):
        same(logits_of(response), walk(index % count)[1])


@trial("outputs")
async def outputs(client: Client) -> None:
    names = ["h_n", "logits"]
    wanted = [RequestedOutput(name) for name in names]
    response = await client.infer(request(walk()[0], request_outputs=wanted))
    assert [output.name for output in response.outputs] == names


@trial("id")
async def request_id(client: Client) -> None:
    assert (await client.infer(request(walk()[0], id="mine"))).id == "mine"


@trial("batch")
async def batch(client: Client) -> None:
    for rows in (1, 2, 7, 64):
        points, lengths, logits = walk_batch(rows)
        sent = request(tensor(points), tensor(lengths, "lengths", "INT64"))
        same(logits_of(await client.infer(sent)), logits)


@trial("lengths")
async def padded(client: Client) -> None:
    points, lengths, logits = walk_batch(4)
    sent = request(tensor(points, raw=False), tensor(lengths, "lengths", "INT64", raw=False))
    same(logits_of(await client.infer(sent)), logits)


@trial("classification")
async def classification(client: Client) -> None:
    sent, logits = walk()
    wanted = [RequestedOutput("logits", {"classification": 1})]
    response = await client.infer(request(sent, request_outputs=wanted))
    (entry,) = logits_of(response).ravel()
    _, index, label = entry.decode().split(":")
    best = int(np.argmax(logits[0]))
    assert (int(index), label) == (best, CLASSIFIER["labels"][best])


@trial("timeout", retries=0)
async def timeout(client: Client) -> None:
    same(logits_of(await client.infer(request(walk()[0], parameters={"timeout": 10_000_000}))), walk()[1])
    await refused(client.infer(request(walk()[0], parameters={"timeout": 1})), "UNAVAILABLE", "Request timeout expired")


@trial("priority")
async def priority(client: Client) -> None:
    same(logits_of(await client.infer(request(walk()[0], parameters={"priority": 1}))), walk()[1])


@trial("parameters")
async def parameters(client: Client) -> None:
    mine = {"text": "a", "number": 3, "flag": True}
    same(logits_of(await client.infer(request(walk()[0], parameters=mine))), walk()[1])


@trial("headers")
async def headers(client: Client) -> None:
    same(logits_of(await client.infer(request(walk()[0]), headers=(("my-header", "a"),))), walk()[1])


@trial("error")
async def errors(client: Client) -> None:
    wrong = request(tensor(np.zeros((1, 2, 3), np.float32)))
    await refused(client.infer(wrong), "INVALID_ARGUMENT", '"input"', "features")
    await refused(client.infer(request(walk()[0], model="unknown")), "NOT_FOUND", "unknown")


@trial("error-details")
async def error_details(client: Client) -> None:
    error = await refused(client.infer(request(tensor(np.zeros((1, 2, 3), np.float32)))), "INVALID_ARGUMENT")
    assert b"inputs[0].shape" in dict(error.trailing_metadata())["grpc-status-details-bin"]


@trial("deadline")
async def deadline(client: Client) -> None:
    long = request(tensor(np.zeros((500, 4096, 2), np.float32)))
    await refused(client.infer(long, timeout=0.03), "DEADLINE_EXCEEDED")
    same(logits_of(await client.infer(request(walk()[0]))), walk()[1])


@trial("cancellation")
async def cancellation(client: Client) -> None:
    call = asyncio.ensure_future(client.infer(request(tensor(np.zeros((500, 4096, 2), np.float32)))))
    await asyncio.sleep(0.03)
    assert call.cancel()
    try:
        await call
    except asyncio.CancelledError:
        same(logits_of(await client.infer(request(walk()[0]))), walk()[1])
    else:
        raise AssertionError("the call was answered before it was cancelled")


@trial("compression", channel_args=[("grpc.default_compression_algorithm", 2)])  # gzip
async def compression(client: Client) -> None:
    points, lengths, logits = walk_batch(64)
    same(logits_of(await client.infer(request(tensor(points), tensor(lengths, "lengths", "INT64")))), logits)


@trial("tls", "tls", use_ssl=True, root_certificates=PLAN["ca"])
async def tls(client: Client) -> None:
    same(logits_of(await client.infer(request(walk()[0]))), walk()[1])


@trial("keepalive", channel_args=[("grpc.keepalive_time_ms", 200), ("grpc.keepalive_permit_without_calls", 1)])
async def keepalive(client: Client) -> None:
    assert await client.is_server_live()
    await asyncio.sleep(1.0)
    same(logits_of(await client.infer(request(walk()[0]))), walk()[1])


@trial("sequence-unary")
async def sequence_unary(client: Client) -> None:
    points = CLASSIFIER["walks"][1]
    for step, values in enumerate(points):
        said = {"sequence_id": 70021, "sequence_start": step == 0, "sequence_end": step == len(points) - 1}
        response = await client.infer(request(tensor(np.array([[values]], np.float32)), parameters=said))
    same(logits_of(response), [CLASSIFIER["logits"][1]])


@stub_trial("load", "explicit")
async def load(stub: Stub) -> None:
    name = TEXT["model"]
    answer = await stub.RepositoryModelLoad(pb.RepositoryModelLoadRequest(model_name=name))
    assert answer.isLoaded
    assert (await stub.ModelReady(pb.ModelReadyRequest(name=name))).ready
    await stub.RepositoryModelUnload(pb.RepositoryModelUnloadRequest(model_name=name))
    assert not (await stub.ModelReady(pb.ModelReadyRequest(name=name))).ready


@stub_trial("load-closed")
async def load_closed(stub: Stub) -> None:
    await stub.RepositoryModelLoad(pb.RepositoryModelLoadRequest(model_name=MODEL))


if __name__ == "__main__":
    logging.disable()  # the client logs each error that it raises
    run()
