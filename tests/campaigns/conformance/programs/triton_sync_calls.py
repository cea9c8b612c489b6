"""Calls of tritonclient's synchronous client, as its programs need them."""

import queue
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import tritonclient.grpc as triton
from tritonclient.utils import InferenceServerException

from campaigns.conformance.programs.reporting import PLAN
from campaigns.conformance.programs.triton_requests import inputs

__all__ = ["client", "point", "refused", "stream"]


def client(server: str = "plain", **more: Any) -> triton.InferenceServerClient:
    return triton.InferenceServerClient(PLAN["servers"][server], **more)


def point(values: list[float]) -> list[triton.InferInput]:
    return inputs(np.array([[values]], np.float32))


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
def stream(asked: triton.InferenceServerClient, **more: Any) -> Iterator["queue.SimpleQueue[tuple[Any, Any]]"]:
    """A stream whose callback puts (result, error) into a queue."""
    answers: queue.SimpleQueue[tuple[Any, Any]] = queue.SimpleQueue()
    asked.start_stream(lambda result, error: answers.put((result, error)), **more)
    try:
        yield answers
    finally:
        asked.stop_stream()
