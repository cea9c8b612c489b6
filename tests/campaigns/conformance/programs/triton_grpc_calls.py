"""tritonclient's two clients over gRPC, called alike: the one whose calls wait, and the one of asyncio.

A program chooses one with `choose` before it runs the features that modules have registered.
"""

import asyncio
import queue
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from typing import Any

import grpc
import numpy as np
import tritonclient.grpc as triton
import tritonclient.grpc.aio as triton_aio
from tritonclient.utils import InferenceServerException

from campaigns.conformance.programs.reporting import PLAN

__all__ = [
    "CLASSIFIER",
    "MODEL",
    "TEXT",
    "WAIT",
    "AioWay",
    "choose",
    "client",
    "inputs",
    "long_walks",
    "point",
    "refusal",
    "refused",
    "stream",
    "walk",
]

CLASSIFIER, TEXT = PLAN["classifier"], PLAN["text"]
MODEL = CLASSIFIER["model"]
WAIT = 20.0
"""Seconds."""

Answered = Callable[[Any, Any], None]
"""Function that gets a result and an error, one of which is None."""


class AioWay:
    """The asyncio client, called as the synchronous one: its loop runs in a thread.

    Attributes:
        client: The client.
    """

    def __init__(self, address: str, **more: Any) -> None:
        self._loop = asyncio.new_event_loop()
        threading.Thread(target=self._loop.run_forever, daemon=True).start()
        self.client = self._run(_made(address, **more))
        self._sent: asyncio.Queue[dict[str, Any] | None]
        self._stream: Any = None

    def _run(self, coroutine: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(3 * WAIT)

    def __getattr__(self, name: str) -> Callable[..., Any]:
        """Give a method of the client that waits for its answer."""
        method = getattr(self.client, name)

        def call(*args: Any, **more: Any) -> Any:
            made = method(*args, **more)
            return self._run(made) if asyncio.iscoroutine(made) else made

        return call

    def async_infer(self, model: str, sent: Any, callback: Answered, **more: Any) -> Any:
        """Begin a request. What is returned has a method `cancel`."""

        async def one() -> None:
            try:
                callback(await self.client.infer(model, sent, **more), None)
            except asyncio.CancelledError:
                callback(None, InferenceServerException("by the client", "StatusCode.CANCELLED"))
            except InferenceServerException as error:
                callback(None, error)

        return asyncio.run_coroutine_threadsafe(one(), self._loop)

    def start_stream(self, callback: Answered, **more: Any) -> None:
        """Begin a stream."""

        async def requests() -> AsyncIterator[dict[str, Any]]:
            while (request := await self._sent.get()) is not None:
                yield request

        async def read() -> None:
            try:
                async for result, error in self.client.stream_infer(requests(), **more):
                    callback(result, error)
            except grpc.aio.AioRpcError as error:  # the client does not turn it into its own
                callback(None, InferenceServerException(error.details(), str(error.code())))

        self._sent = asyncio.Queue()
        self._stream = asyncio.run_coroutine_threadsafe(read(), self._loop)

    def async_stream_infer(self, model: str, sent: Any, **more: Any) -> None:
        """Send a request on the stream."""
        self._loop.call_soon_threadsafe(self._sent.put_nowait, {"model_name": model, "inputs": sent, **more})

    def stop_stream(self) -> None:
        """End the stream, and wait for its last answer."""
        self._loop.call_soon_threadsafe(self._sent.put_nowait, None)
        self._stream.result(WAIT)


async def _made(address: str, **more: Any) -> Any:
    return triton_aio.InferenceServerClient(address, **more)


_chosen: list[Callable[..., Any]] = [triton.InferenceServerClient]


def choose(way: Callable[..., Any]) -> None:
    """Choose the class of the clients that `client` makes: `AioWay`, or else that of the synchronous client."""
    _chosen.append(way)


def client(server: str = "plain", **more: Any) -> Any:
    """Make a client of one of the plan's servers."""
    return _chosen[-1](PLAN["servers"][server], **more)


def inputs(array: np.ndarray, name: str = "input", datatype: str = "FP32") -> list[triton.InferInput]:
    """An input, as the list that `infer` takes."""
    tensor = triton.InferInput(name, array.shape, datatype)
    tensor.set_data_from_numpy(array)
    return [tensor]


def point(values: list[float]) -> list[triton.InferInput]:
    return inputs(np.array([[values]], np.float32))


def walk(index: int = 0) -> tuple[list[triton.InferInput], np.ndarray]:
    """A walk as a batch of one row, and its logits (1, 2)."""
    return inputs(np.array([CLASSIFIER["walks"][index]], np.float32)), np.array([CLASSIFIER["logits"][index]])


def long_walks() -> np.ndarray:
    """Walks that take long to run: (batch, sequence, 2) float32."""
    return np.zeros((500, 4096, 2), np.float32)


def refusal(error: BaseException) -> tuple[str, str] | None:
    """Status and message of a client's exception; None for others."""
    if isinstance(error, InferenceServerException) and error.status():
        return error.status().removeprefix("StatusCode."), error.message()
    return None


def refused(call: Any, status: str, *words: str) -> None:
    """Check that a call is refused with a status and with a message that has all the words."""
    try:
        call()
    except InferenceServerException as error:
        assert error.status() == f"StatusCode.{status}", str(error)
        for word in words:
            assert word in error.message(), str(error)
    else:
        raise AssertionError(f"expected {status}")


@contextmanager
def stream(asked: Any, **more: Any) -> Iterator["queue.SimpleQueue[tuple[Any, Any]]"]:
    """A stream whose callback puts (result, error) into a queue."""
    answers: queue.SimpleQueue[tuple[Any, Any]] = queue.SimpleQueue()
    asked.start_stream(lambda result, error: answers.put((result, error)), **more)
    try:
        yield answers
    finally:
        asked.stop_stream()
