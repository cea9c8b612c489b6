"""KServe's SDK over HTTP: its `InferenceRESTClient`."""

import asyncio
import logging
import secrets
import ssl
from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import numpy as np
from kserve import InferenceRESTClient, InferInput, InferRequest, InferResponse, RESTConfig
from kserve.protocol.infer_type import RequestedOutput

from campaigns.conformance.programs.arrays import drawn_walks, same, walk_batch
from campaigns.conformance.programs.reporting import PLAN, feature, run

CLASSIFIER, TEXT = PLAN["classifier"], PLAN["text"]
MODEL = CLASSIFIER["model"]

_AT_ONCE = 16


class Client:
    """The client, with the address of one of the plan's servers."""

    def __init__(self, server: str = "plain") -> None:
        """Begin."""
        self.address = f"{'https' if server == 'tls' else 'http'}://{PLAN['http'][server]}"
        verify = ssl.create_default_context(cafile=PLAN["ca"]) if server == "tls" else True
        self.client = InferenceRESTClient(RESTConfig(protocol="v2", verify=verify, timeout=60))

    async def infer(self, *inputs: InferInput, model: str = MODEL, id: str = "", **more: Any) -> InferResponse:
        """Ask; `headers` go with the request, and the rest into it."""
        headers = more.pop("headers", None)
        request = InferRequest(model, list(inputs), request_id=id, **more)
        answer = await self.client.infer(self.address, request, model_name=model, headers=headers)
        assert isinstance(answer, InferResponse)
        return answer


def trial(name: str, server: str = "plain") -> Callable[[Callable[[Client], Awaitable[None]]], Any]:
    """Register a coroutine function that gets a client of one of the servers."""

    def register(function: Callable[[Client], Awaitable[None]]) -> Any:
        async def tried() -> None:
            asked = Client(server)
            try:
                await function(asked)
            finally:
                await asked.client.close()

        return feature(name)(tried)

    return register


def tensor(array: np.ndarray, name: str = "input", datatype: str = "FP32", *, binary: bool = True) -> InferInput:
    found = InferInput(name, list(array.shape), datatype)
    found.set_data_from_numpy(array, binary_data=binary)
    return found


def walk(index: int = 0, *, binary: bool = True) -> InferInput:
    """A walk as a batch of one row."""
    return tensor(np.array([CLASSIFIER["walks"][index]], np.float32), binary=binary)


def logits_of(answer: InferResponse) -> np.ndarray:
    return answer.get_output_by_name("logits").as_numpy()


def right(answer: InferResponse, index: int = 0) -> None:
    same(logits_of(answer), [CLASSIFIER["logits"][index]])


def wanted(*names: str, **parameters: Any) -> list[RequestedOutput]:
    return [RequestedOutput(name, parameters=parameters or None) for name in names]


async def refused(call: Awaitable[Any], status: int, *words: str) -> None:
    try:
        await call
    except httpx.HTTPStatusError as error:
        assert error.response.status_code == status, str(error)
        assert all(word in str(error) for word in words), str(error)
    else:
        raise AssertionError(f"expected {status}")


@trial("live")
async def live(asked: Client) -> None:
    assert await asked.client.is_server_live(asked.address)


@trial("ready")
async def ready(asked: Client) -> None:
    assert await asked.client.is_server_ready(asked.address)
    assert await asked.client.is_model_ready(asked.address, MODEL)
    assert not await asked.client.is_model_ready(asked.address, "unknown")


@trial("infer-json")
async def infer_json(asked: Client) -> None:
    right(await asked.infer(walk(binary=False)))


@trial("infer-binary")
async def infer_binary(asked: Client) -> None:
    right(await asked.infer(walk(), parameters={"binary_data_output": True}))
    right(await asked.infer(walk(), request_outputs=wanted("logits", binary_data=True)))


@trial("infer-integers")
async def infer_integers(asked: Client) -> None:
    for index, (row, logits) in enumerate(zip(TEXT["rows"], TEXT["logits"], strict=True)):
        tokens = tensor(np.array([row], np.int64), "tokens", "INT64", binary=index % 2 == 0)
        same(logits_of(await asked.infer(tokens, model=TEXT["model"])), [logits])


@trial("walks")
async def walks(asked: Client) -> None:
    drawn, turns = drawn_walks(), asyncio.Semaphore(_AT_ONCE)

    async def one(index: int, points: np.ndarray) -> np.ndarray:
        async with turns:
            sent = tensor(points[None], binary=index % 2 == 0)
            outputs = wanted("logits", binary_data=index % 3 != 0)
            return logits_of(await asked.infer(sent, model=drawn.model, request_outputs=outputs))[0]

    drawn.check(await asyncio.gather(*(one(index, points) for index, points in enumerate(drawn.walks))))


@trial("infer-async")
async def infer_async(asked: Client) -> None:
    known = len(CLASSIFIER["walks"])
    for index, answer in enumerate(await asyncio.gather(*(asked.infer(walk(at % known)) for at in range(200)))):
        right(answer, index % known)


@trial("outputs")
async def outputs(asked: Client) -> None:
    for names in (["logits"], ["h_n", "logits"]):
        answer = await asked.infer(walk(), request_outputs=wanted(*names))
        assert [output.name for output in answer.outputs] == names


@trial("id")
async def request_id(asked: Client) -> None:
    assert (await asked.infer(walk(), id="mine")).id == "mine"


@trial("batch")
async def batch(asked: Client) -> None:
    for rows in (1, 2, 7, 64):
        points, lengths, logits = walk_batch(rows)
        sent = tensor(points), tensor(lengths, "lengths", "INT64", binary=rows % 2 == 0)
        same(logits_of(await asked.infer(*sent)), logits)


@trial("classification")
async def classification(asked: Client) -> None:
    answer = await asked.infer(walk(), request_outputs=wanted("logits", classification=1))
    value, index, label = answer.outputs[0].data[0].split(":")
    best = int(np.argmax(CLASSIFIER["logits"][0]))
    assert (int(index), label) == (best, CLASSIFIER["labels"][best])
    same(float(value), CLASSIFIER["logits"][0][best])


@trial("timeout")
async def timeout(asked: Client) -> None:
    right(await asked.infer(walk(), parameters={"timeout": 10_000_000}))
    await refused(asked.infer(walk(), parameters={"timeout": 1}), 503, "Request timeout expired")


@trial("priority")
async def priority(asked: Client) -> None:
    right(await asked.infer(walk(), parameters={"priority": 1}))


@trial("parameters")
async def parameters(asked: Client) -> None:
    right(await asked.infer(walk(), parameters={"text": "a", "number": 3, "flag": True}))


@trial("headers")
async def headers(asked: Client) -> None:
    came: dict[str, str] = {}
    request = InferRequest(MODEL, [walk()])
    sent = {"X-Request-Id": "mine"}
    await asked.client.infer(asked.address, request, model_name=MODEL, headers=sent, response_headers=came)
    assert came["x-request-id"] == "mine"


@trial("error")
async def errors(asked: Client) -> None:
    for binary in (True, False):
        wrong = tensor(np.zeros((1, 2, 3), np.float32), binary=binary)
        await refused(asked.infer(wrong), 400, '"input"', "features")
    await refused(asked.infer(walk(), model="unknown"), 404, "unknown")


@trial("tls", "tls")
async def tls(asked: Client) -> None:
    right(await asked.infer(walk()))


def step(index: int, at: int) -> InferInput:
    return tensor(np.array([CLASSIFIER["walks"][index][at : at + 1]], np.float32))


def control(index: int, at: int, **more: Any) -> dict[str, Any]:
    return {"sequence_start": at == 0, "sequence_end": at == len(CLASSIFIER["walks"][index]) - 1, **more}


@trial("sequence")
async def sequence(asked: Client) -> None:
    for named in (70071, "by text"):
        for at in range(len(CLASSIFIER["walks"][2])):
            answer = await asked.infer(step(2, at), parameters=control(2, at, sequence_id=named))
        right(answer, 2)


@trial("sequence-key")
async def sequence_key(_: Client) -> None:
    key = secrets.token_urlsafe()
    for at in range(len(CLASSIFIER["walks"][2])):
        asked = Client()
        answer = await asked.infer(step(2, at), parameters=control(2, at, sequence_id=70072, sequence_key=key))
        await asked.client.close()
    right(answer, 2)


@trial("carried")
async def carried(_: Client) -> None:
    states: list[InferInput] = []
    for at in range(len(CLASSIFIER["walks"][2])):
        asked = Client()
        answer = await asked.infer(step(2, at), *states, parameters={"binary_data_output": True})
        states = [tensor(answer.get_output_by_name("h_n").as_numpy(), "h_0")]
        await asked.client.close()
    right(answer, 2)


def refusal(error: BaseException) -> tuple[str, str] | None:
    """Status and message of a client's exception; None for others."""
    return (str(error.response.status_code), str(error)) if isinstance(error, httpx.HTTPStatusError) else None


if __name__ == "__main__":
    logging.disable()  # the client logs each error that it raises
    run(refusal)
