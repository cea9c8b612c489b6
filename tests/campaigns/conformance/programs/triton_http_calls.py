"""tritonclient's three ways over HTTP, called alike: calls that wait, asyncio, and greenlets of gevent.

A program chooses one with `choose` before it imports what registers features.
"""

import asyncio
import ssl
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import tritonclient.http as triton
import tritonclient.http.aio as triton_aio
from gevent.pool import Pool
from tritonclient.utils import InferenceServerException

from campaigns.conformance.programs.reporting import PLAN

__all__ = ["CLASSIFIER", "MODEL", "TEXT", "Way", "choose", "client", "inputs", "refusal", "refused", "walk", "wanted"]

CLASSIFIER, TEXT = PLAN["classifier"], PLAN["text"]
MODEL = CLASSIFIER["model"]

_AT_ONCE = 32
_SECONDS = 60.0


class Way:
    """A client that waits for each answer.

    Attributes:
        client: The client.
    """

    def __init__(self, address: str, ca: str = "") -> None:
        """Connect to an address. Over TLS where a file of certificates is given."""
        tls = {"ssl": True, "ssl_options": {"ca_certs": ca}, "ssl_context_factory": ssl.create_default_context}
        self.client: Any = triton.InferenceServerClient(
            address, concurrency=_AT_ONCE, network_timeout=_SECONDS, connection_timeout=_SECONDS, **(tls if ca else {})
        )

    def __getattr__(self, name: str) -> Callable[..., Any]:
        """Give a method of the client."""
        return getattr(self.client, name)

    def infer_all(self, calls: Iterable[dict[str, Any]]) -> list[Any]:
        """Ask one after another; return the results in order."""
        return [self.infer(**call) for call in calls]

    def infer_together(self, calls: Iterable[dict[str, Any]]) -> list[Any]:
        """Ask many at a time; return the results in order."""
        return [asked.get_result(timeout=_SECONDS) for asked in [self.client.async_infer(**call) for call in calls]]

    def close(self) -> None:
        """Close the connections."""
        self.client.close()


class GreenletWay(Way):
    """The same client, in greenlets: its own, and those of a process that gevent has patched."""

    def infer(self, *args: Any, **more: Any) -> Any:
        """Ask, and wait for the greenlet."""
        return self.client.async_infer(*args, **more).get_result(timeout=_SECONDS)

    def infer_all(self, calls: Iterable[dict[str, Any]]) -> list[Any]:
        """Ask many at a time, without `async_infer`: that pauses for 10 ms after each request."""
        return Pool(_AT_ONCE).map(lambda call: self.client.infer(**call), calls)


class AioWay:
    """The asyncio client, whose every call is waited for.

    Attributes:
        client: The client.
    """

    def __init__(self, address: str, ca: str = "") -> None:
        """Connect to an address. Over TLS where a file of certificates is given."""
        tls = {"ssl": True, "ssl_context": ssl.create_default_context(cafile=ca)} if ca else {}
        self._loop = asyncio.new_event_loop()
        self.client = self._loop.run_until_complete(_made(address, **tls))

    def __getattr__(self, name: str) -> Callable[..., Any]:
        """Give a method of the client that waits for its answer."""
        method = getattr(self.client, name)
        return lambda *args, **more: self._loop.run_until_complete(method(*args, **more))

    def infer_all(self, calls: Iterable[dict[str, Any]]) -> list[Any]:
        """Ask many at a time; return the results in order."""

        async def gathered() -> list[Any]:
            turns = asyncio.Semaphore(_AT_ONCE)

            async def one(call: dict[str, Any]) -> Any:
                async with turns:
                    return await self.client.infer(**call)

            return await asyncio.gather(*map(one, calls))

        return self._loop.run_until_complete(gathered())

    infer_together = infer_all

    def close(self) -> None:
        """Close the connections."""
        self._loop.run_until_complete(self.client.close())
        self._loop.close()


async def _made(address: str, **more: Any) -> Any:
    return triton_aio.InferenceServerClient(address, conn_limit=_AT_ONCE, conn_timeout=_SECONDS, **more)


_WAYS: dict[str, Any] = {"sync": Way, "gevent": GreenletWay, "aio": AioWay}
_chosen: list[Any] = []


def choose(name: str) -> None:
    """Choose "sync", "gevent" or "aio"."""
    _chosen.append(_WAYS[name])


def client(server: str = "plain") -> Any:
    """Make a client of one of the plan's servers, in the way that was chosen."""
    return _chosen[-1](PLAN["http"][server], PLAN["ca"] if server == "tls" else "")


def inputs(
    array: np.ndarray, name: str = "input", datatype: str = "FP32", *, binary: bool = True
) -> list[triton.InferInput]:
    """An input, as the list that `infer` takes."""
    tensor = triton.InferInput(name, array.shape, datatype)
    tensor.set_data_from_numpy(array, binary_data=binary)
    return [tensor]


def wanted(*names: str, binary: bool = True) -> list[triton.InferRequestedOutput]:
    """Outputs, as the list that `infer` takes."""
    return [triton.InferRequestedOutput(name, binary_data=binary) for name in names]


def walk(index: int = 0, *, binary: bool = True) -> tuple[list[triton.InferInput], np.ndarray]:
    """A walk as a batch of one row, and its logits (1, 2)."""
    points = np.array([CLASSIFIER["walks"][index]], np.float32)
    return inputs(points, binary=binary), np.array([CLASSIFIER["logits"][index]])


def refusal(error: BaseException) -> tuple[str, str] | None:
    """Status and message of a client's exception; None for others."""
    if isinstance(error, InferenceServerException) and error.status():
        return error.status(), error.message()
    return None


def refused(call: Callable[[], Any], status: str, *words: str) -> None:
    """Check that a call is refused with a status and with a message that has all the words."""
    try:
        call()
    except InferenceServerException as error:
        assert error.status() == status, str(error)
        for word in words:
            assert word in error.message(), str(error)
    else:
        raise AssertionError(f"expected {status}")
