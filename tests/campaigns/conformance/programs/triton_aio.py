"""tritonclient's asyncio client: each of its methods."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import grpc
import numpy as np
import tritonclient.grpc as messages
from tritonclient.grpc import auth
from tritonclient.grpc.aio import InferenceServerClient as Client
from tritonclient.utils import InferenceServerException

from campaigns.conformance.programs.arrays import same, walk_batch
from campaigns.conformance.programs.reporting import PLAN, feature, run
from campaigns.conformance.programs.triton_requests import (
    CLASSIFIER,
    MODEL,
    TEXT,
    WAIT,
    inputs,
    long_walks,
    refusal,
    walk,
)


def trial(name: str, server: str = "plain", **more: Any) -> Callable[[Callable[[Client], Awaitable[None]]], Any]:
    """Register a coroutine function that gets a client of one of the servers."""

    def register(function: Callable[[Client], Awaitable[None]]) -> Any:
        async def tried() -> None:
            async with Client(PLAN["servers"][server], **more) as client:
                await asyncio.wait_for(function(client), 60)

        return feature(name)(tried)

    return register


async def refused(call: Awaitable[Any], status: str, *words: str) -> None:
    """Check that a call is refused with a status and with a message that has all the words."""
    try:
        await call
    except InferenceServerException as error:
        assert error.status() == f"StatusCode.{status}", str(error)
        for word in words:
            assert word in error.message(), str(error)
    else:
        raise AssertionError(f"expected {status}")


async def ask_stream(client: Client, requests: list[dict[str, Any]], **more: Any) -> list[tuple[Any, Any]]:
    """Send requests on one stream, and return its (result, error) pairs."""

    async def send() -> AsyncIterator[dict[str, Any]]:
        for request in requests:
            yield request

    return [answer async for answer in client.stream_infer(send(), **more)]


@trial("live")
async def live(client: Client) -> None:
    assert await client.is_server_live()


@trial("ready")
async def ready(client: Client) -> None:
    assert await client.is_server_ready()
    assert await client.is_model_ready(MODEL)
    assert not await client.is_model_ready("unknown")


@trial("server-metadata")
async def server_metadata(client: Client) -> None:
    assert (await client.get_server_metadata()).name == "rnnserve"


@trial("model-metadata")
async def model_metadata(client: Client) -> None:
    metadata = await client.get_model_metadata(MODEL, as_json=True)
    assert metadata["inputs"][0]["shape"] == ["-1", "-1", "2"], metadata


@trial("model-config")
async def model_config(client: Client) -> None:
    assert (await client.get_model_config(MODEL)).config.name == MODEL


@trial("infer-raw")
async def infer(client: Client) -> None:  # simple_grpc_aio_infer_client.py
    sent, logits = walk()
    same((await client.infer(MODEL, sent)).as_numpy("logits"), logits)


@trial("infer-integers")
async def infer_integers(client: Client) -> None:
    for row, logits in zip(TEXT["rows"], TEXT["logits"], strict=True):
        result = await client.infer(TEXT["model"], inputs(np.array([row], np.int64), "tokens", "INT64"))
        same(result.as_numpy("logits"), [logits])


@trial("infer-async")
async def infer_many(client: Client) -> None:
    count = len(CLASSIFIER["walks"])
    results = await asyncio.gather(*(client.infer(MODEL, walk(index % count)[0]) for index in range(200)))
    for index, result in enumerate(results):
        same(result.as_numpy("logits"), walk(index % count)[1])


@trial("outputs")
async def outputs(client: Client) -> None:
    names = ["h_n", "logits"]
    result = await client.infer(MODEL, walk()[0], outputs=[messages.InferRequestedOutput(name) for name in names])
    assert [output.name for output in result.get_response().outputs] == names


@trial("id")
async def request_id(client: Client) -> None:
    assert (await client.infer(MODEL, walk()[0], request_id="mine")).get_response().id == "mine"


@trial("batch")
async def batch(client: Client) -> None:
    for rows in (1, 2, 7, 64):
        points, lengths, logits = walk_batch(rows)
        sent = inputs(points) + inputs(lengths, "lengths", "INT64")
        same((await client.infer(MODEL, sent)).as_numpy("logits"), logits)


@trial("lengths")
async def padded(client: Client) -> None:
    points, lengths, logits = walk_batch(4)
    sent = inputs(points) + inputs(lengths, "lengths", "INT64")
    same((await client.infer(MODEL, sent)).as_numpy("logits"), logits)


@trial("classification")
async def classification(client: Client) -> None:
    sent, logits = walk()
    result = await client.infer(MODEL, sent, outputs=[messages.InferRequestedOutput("logits", class_count=2)])
    ranked = [entry.decode().split(":") for entry in result.as_numpy("logits")[0]]
    assert [int(index) for _, index, _ in ranked] == np.argsort(-logits[0]).tolist()
    assert [label for *_, label in ranked] == [CLASSIFIER["labels"][int(index)] for _, index, _ in ranked]


@trial("timeout")
async def timeout(client: Client) -> None:
    same((await client.infer(MODEL, walk()[0], timeout=10_000_000)).as_numpy("logits"), walk()[1])
    await refused(client.infer(MODEL, walk()[0], timeout=1), "UNAVAILABLE", "Request timeout expired")


@trial("priority")
async def priority(client: Client) -> None:
    same((await client.infer(MODEL, walk()[0], priority=1)).as_numpy("logits"), walk()[1])


@trial("parameters")
async def parameters(client: Client) -> None:
    mine = {"text": "a", "number": 3, "flag": True}
    same((await client.infer(MODEL, walk()[0], parameters=mine)).as_numpy("logits"), walk()[1])


@trial("headers")
async def headers(client: Client) -> None:
    client.register_plugin(auth.BasicAuth("user", "password"))
    same((await client.infer(MODEL, walk()[0], headers={"my-header": "a"})).as_numpy("logits"), walk()[1])


@trial("error")
async def errors(client: Client) -> None:
    wrong = inputs(np.zeros((1, 2, 3), np.float32))
    await refused(client.infer(MODEL, wrong), "INVALID_ARGUMENT", '"input"', "features")
    await refused(client.infer("unknown", walk()[0]), "NOT_FOUND", "unknown")


@trial("deadline")
async def deadline(client: Client) -> None:
    await refused(client.infer(MODEL, inputs(long_walks()), client_timeout=0.03), "DEADLINE_EXCEEDED")
    same((await client.infer(MODEL, walk()[0], client_timeout=WAIT)).as_numpy("logits"), walk()[1])


@trial("cancellation")
async def cancellation(client: Client) -> None:
    call = asyncio.ensure_future(client.infer(MODEL, inputs(long_walks())))
    await asyncio.sleep(0.03)
    assert call.cancel()
    try:
        await call
    except asyncio.CancelledError:
        same((await client.infer(MODEL, walk()[0])).as_numpy("logits"), walk()[1])
    else:
        raise AssertionError("the call was answered before it was cancelled")


@trial("compression")
async def compression(client: Client) -> None:
    points, lengths, logits = walk_batch(64)
    sent = inputs(points) + inputs(lengths, "lengths", "INT64")
    for algorithm in ("gzip", "deflate"):
        same((await client.infer(MODEL, sent, compression_algorithm=algorithm)).as_numpy("logits"), logits)


@trial("tls", "tls", ssl=True, root_certificates=PLAN["ca"])
async def tls(client: Client) -> None:
    same((await client.infer(MODEL, walk()[0])).as_numpy("logits"), walk()[1])


@trial(
    "keepalive",
    keepalive_options=messages.KeepAliveOptions(200, 5000, True, 0),
)
async def keepalive(client: Client) -> None:
    assert await client.is_server_live()
    await asyncio.sleep(1.0)
    same((await client.infer(MODEL, walk()[0])).as_numpy("logits"), walk()[1])


@trial("stream")
async def streaming(client: Client) -> None:
    count, walks = 50, len(CLASSIFIER["walks"])
    requests = [
        {"model_name": MODEL, "inputs": walk(index % walks)[0], "request_id": str(index)} for index in range(count)
    ]
    answers = await ask_stream(client, requests, stream_timeout=WAIT)
    assert [result.get_response().id for result, _ in answers] == [str(index) for index in range(count)]
    for index, (result, _) in enumerate(answers):
        same(result.as_numpy("logits"), walk(index % walks)[1])


@trial("stream-final")
async def stream_final(client: Client) -> None:
    ((result, error),) = await ask_stream(client, [{"model_name": MODEL, "inputs": walk()[0]}])
    assert error is None, error
    assert result.get_response().parameters["triton_final_response"].bool_param


@trial("stream-error")
async def stream_error(client: Client) -> None:
    requests = [{"model_name": name, "inputs": walk()[0]} for name in ("unknown", MODEL)]
    (_, error), (result, none) = await ask_stream(client, requests)
    assert "unknown" in error.message()
    assert none is None
    same(result.as_numpy("logits"), walk()[1])


@trial("stream-end")
async def stream_end(client: Client) -> None:
    requests = [{"model_name": "unknown", "inputs": walk()[0]}]
    try:
        await ask_stream(client, requests, headers={"triton_grpc_error": "true"})
    except grpc.aio.AioRpcError as error:  # the client does not turn it into its own
        assert error.code() == grpc.StatusCode.NOT_FOUND, error
    else:
        raise AssertionError("the stream did not end")


@trial("sequence-stream")
async def sequence_stream(client: Client) -> None:  # simple_grpc_aio_sequence_stream_infer_client.py
    points = CLASSIFIER["walks"][0]
    answers = await ask_stream(client, steps(points, 70011))
    assert [error for _, error in answers] == [None] * len(points)
    same(answers[-1][0].as_numpy("logits"), [CLASSIFIER["logits"][0]])


@trial("sequence-unary")
async def sequence_unary(client: Client) -> None:
    points = CLASSIFIER["walks"][3]
    for step in steps(points, "by text"):
        result = await client.infer(**step)
    same(result.as_numpy("logits"), [CLASSIFIER["logits"][3]])


@trial("statistics")
async def statistics(client: Client) -> None:
    await client.infer(MODEL, walk()[0])
    (found,) = (await client.get_inference_statistics(MODEL)).model_stats
    assert found.inference_count > 0


@trial("index")
async def index(client: Client) -> None:
    models = (await client.get_model_repository_index()).models
    assert {model.name: model.state for model in models}[MODEL] == "READY"


@trial("load", "explicit")
async def load(client: Client) -> None:
    await client.load_model(TEXT["model"])
    assert await client.is_model_ready(TEXT["model"])
    await client.unload_model(TEXT["model"])
    assert not await client.is_model_ready(TEXT["model"])


@trial("load-closed")
async def load_closed(client: Client) -> None:
    await client.load_model(MODEL)


@trial("load-config", "explicit")
async def load_config(client: Client) -> None:
    await client.load_model(TEXT["model"], config='{"backend": "onnxruntime"}')


@trial("memory-status")
async def memory_status(client: Client) -> None:
    assert not (await client.get_system_shared_memory_status()).regions
    assert not (await client.get_cuda_shared_memory_status()).regions
    await client.unregister_system_shared_memory()
    await client.unregister_cuda_shared_memory()


@trial("memory-register")
async def memory_register(client: Client) -> None:
    await refused(client.register_cuda_shared_memory("region", b"aGFuZGxl", 0, 64), "UNIMPLEMENTED")
    await client.register_system_shared_memory("region", "/region", 64)


@trial("trace-settings")
async def trace_settings(client: Client) -> None:
    assert (await client.get_trace_settings()).settings["trace_level"].value == ["OFF"]


@trial("trace-change")
async def trace_change(client: Client) -> None:
    await client.update_trace_settings(settings={"trace_level": ["TIMESTAMPS"]})


@trial("log-settings")
async def log_settings(client: Client) -> None:
    assert (await client.get_log_settings()).settings["log_error"].bool_param


@trial("log-change")
async def log_change(client: Client) -> None:
    await client.update_log_settings({"log_verbose_level": 3})


def steps(points: list[list[float]], sequence: int | str) -> list[dict[str, Any]]:
    """The requests of a sequence, a point each."""
    return [
        {
            "model_name": MODEL,
            "inputs": inputs(np.array([[values]], np.float32)),
            "sequence_id": sequence,
            "sequence_start": step == 0,
            "sequence_end": step == len(points) - 1,
        }
        for step, values in enumerate(points)
    ]


if __name__ == "__main__":
    run(refusal)
