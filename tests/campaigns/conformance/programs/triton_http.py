"""tritonclient's two ways over HTTP: calls that wait, and asyncio."""

import asyncio
import os
import ssl
from collections.abc import Callable, Iterable
from typing import Any

import tritonclient.http as triton
import tritonclient.http.aio as triton_aio

from campaigns.conformance.programs import v2_over_http
from campaigns.conformance.programs.arrays import same, walk_batch
from campaigns.conformance.programs.reporting import PLAN, feature
from campaigns.conformance.programs.triton_features import refusal
from campaigns.conformance.programs.v2_calls import CLASSIFIER, MODEL, Way, client, inputs, run_as, walk, wanted

__all__ = ["v2_over_http"]

_AT_ONCE = 32
_SECONDS = 60.0


class Waiting:
    """A client that waits for each answer.

    Attributes:
        client: The client.
    """

    def __init__(self, server: str) -> None:
        """Connect to one of the plan's servers."""
        address, ca = PLAN["http"][server], PLAN["ca"] if server == "tls" else ""
        tls = {"ssl": True, "ssl_options": {"ca_certs": ca}, "ssl_context_factory": ssl.create_default_context}
        self.client: Any = triton.InferenceServerClient(
            address, concurrency=_AT_ONCE, network_timeout=_SECONDS, connection_timeout=_SECONDS, **(tls if ca else {})
        )

    def __getattr__(self, name: str) -> Callable[..., Any]:
        """Give a method of the client."""
        return getattr(self.client, name)

    def infer_together(self, calls: Iterable[dict[str, Any]]) -> list[Any]:
        """Send many requests at a time. Return the results in order."""
        return [asked.get_result(timeout=_SECONDS) for asked in [self.client.async_infer(**call) for call in calls]]

    def close(self) -> None:
        """Close the connections."""
        self.client.close()


class Aio:
    """The asyncio client, whose every call is waited for.

    Attributes:
        client: The client.
    """

    def __init__(self, server: str) -> None:
        """Connect to one of the plan's servers."""
        address, ca = PLAN["http"][server], PLAN["ca"] if server == "tls" else ""
        tls = {"ssl": True, "ssl_context": ssl.create_default_context(cafile=ca)} if ca else {}
        self._loop = asyncio.new_event_loop()
        self.client = self._loop.run_until_complete(_made(address, **tls))

    def __getattr__(self, name: str) -> Callable[..., Any]:
        """Give a method of the client that waits for its answer."""
        method = getattr(self.client, name)
        return lambda *args, **more: self._loop.run_until_complete(method(*args, **more))

    def infer_together(self, calls: Iterable[dict[str, Any]]) -> list[Any]:
        """Send many requests at a time. Return the results in order."""

        async def gathered() -> list[Any]:
            turns = asyncio.Semaphore(_AT_ONCE)

            async def one(call: dict[str, Any]) -> Any:
                async with turns:
                    return await self.client.infer(**call)

            return await asyncio.gather(*map(one, calls))

        return self._loop.run_until_complete(gathered())

    def close(self) -> None:
        """Close the connections."""
        self._loop.run_until_complete(self.client.close())
        self._loop.close()


async def _made(address: str, **more: Any) -> Any:
    return triton_aio.InferenceServerClient(address, conn_limit=_AT_ONCE, conn_timeout=_SECONDS, **more)


def _way(client: Callable[..., Any]) -> Way:
    return Way(client, triton.InferInput, triton.InferRequestedOutput, refusal, of_binary="binary_data")


WAITING, AIO = _way(Waiting), _way(Aio)


@feature("infer-json")
def infer_json() -> None:
    sent, logits = walk(binary=False)
    said = client().infer(MODEL, sent, outputs=wanted("logits", "h_n", binary=False))
    same(said.as_numpy("logits"), logits)
    assert all("data" in output for output in said.get_response()["outputs"])


@feature("infer-binary")
def infer_binary() -> None:
    sent, logits = walk()
    said = client().infer(MODEL, sent)
    same(said.as_numpy("logits"), logits)
    assert said.get_response()["model_version"] == "1"
    for output in said.get_response()["outputs"]:
        assert output["parameters"]["binary_data_size"] > 0


@feature("infer-async")
def infer_async() -> None:
    count, known = 200, len(CLASSIFIER["walks"])
    calls = [
        {"model_name": MODEL, "inputs": walk(index % known)[0], "request_id": str(index)} for index in range(count)
    ]
    for index, said in enumerate(client().infer_together(calls)):
        assert said.get_response()["id"] == str(index)
        same(said.as_numpy("logits"), walk(index % known)[1])


@feature("headers")
def headers() -> None:
    """The answer to a request without an id has the id in its header."""
    said = client().infer(MODEL, walk()[0], headers={"X-Request-Id": "mine"})
    assert said.get_response()["id"] == "mine"


@feature("compressed-requests")
def compressed_requests() -> None:
    points, lengths, logits = walk_batch(64)
    for algorithm in ("gzip", "deflate"):
        for binary in (True, False):
            sent = inputs(points, binary=binary) + inputs(lengths, "lengths", "INT64", binary=binary)
            said = client().infer(MODEL, sent, request_compression_algorithm=algorithm)
            same(said.as_numpy("logits"), logits)


if __name__ == "__main__":
    run_as({"waiting": WAITING, "aio": AIO}[os.environ["WAY"]])
