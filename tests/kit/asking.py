"""Clients that ask again and again, and how their requests end."""

import contextlib
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import grpc
import numpy as np

from kit.inference_requests import request
from kit.served import new_channel
from kit.waiting import PATIENCE, until
from rnnserve.protos import inference_pb2_grpc as rpc

_REQUEST = request("direction_simple", {"input": np.zeros((1, 3, 2), np.float32)})


def ask(channel: grpc.Channel, timeout: float = PATIENCE) -> str:
    """Make one small request; say how it ended: OK, or the error's status and message."""
    try:
        assert rpc.GRPCInferenceServiceStub(channel).ModelInfer(_REQUEST, timeout=timeout).outputs
    except grpc.RpcError as error:
        return f"{error.code().name}: {error.details()}"
    return "OK"


@dataclass
class Load:
    """Clients in closed loops, each with one request in flight.

    Attributes:
        port: Whom they ask.
        clients: How many.
        reconnect: Whether each request has a connection of its own.
        pause: Seconds between an answer and the next request.
        call: Makes a request on a channel; gives how it ended: an error is its status and message.
        said: How requests ended, and how many of them did so.
    """

    port: int
    clients: int
    reconnect: bool
    pause: float = 0.0
    call: Callable[[grpc.Channel], Any] = ask
    said: Counter[Any] = field(default_factory=Counter)
    _is_over: threading.Event = field(default_factory=threading.Event)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @contextlib.contextmanager
    def running(self) -> Iterator["Load"]:
        """Ask inside a `with`."""
        threads = [threading.Thread(target=self._ask_on, daemon=True) for _ in range(self.clients)]
        for thread in threads:
            thread.start()
        try:
            yield self
        finally:
            self._is_over.set()
            for thread in threads:
                thread.join(PATIENCE)

    @property
    def failed(self) -> dict[str, int]:
        """How requests failed."""
        with self._lock:
            return {said: count for said, count in self.said.items() if isinstance(said, str) and said != "OK"}

    def answered(self) -> int:
        """How many have been answered."""
        with self._lock:
            return self.said["OK"]

    def goes_on(self, count: int = 300) -> None:
        """Wait for so many further answers."""
        before = self.answered()
        until(lambda: self.answered() >= before + count)

    def _ask_on(self) -> None:
        with contextlib.ExitStack() as stack:
            kept = None if self.reconnect else stack.enter_context(new_channel(self.port))
            while not self._is_over.wait(self.pause):
                if kept is not None:
                    said = self.call(kept)
                else:
                    with new_channel(self.port) as channel:
                        said = self.call(channel)
                with self._lock:
                    self.said[said] += 1
