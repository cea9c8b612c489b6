"""A client's channels: one for calls to any server, and one for each server that keeps sequences."""

import itertools
import threading
from collections.abc import Callable
from typing import Any, Generic, TypeVar

import grpc

from rnnserve.client.remote_calls import Place
from rnnserve.protos.inference_pb2_grpc import GRPCInferenceServiceStub

__all__ = ["ServerChannels"]

AnyChannel = TypeVar("AnyChannel", bound=grpc.Channel | grpc.aio.Channel)


class ServerChannels(Generic[AnyChannel]):
    """Opens channels when they are first needed. Thread-safe.

    The second argument of `open_channel` is whether the channel stays with the first server that responds.
    """

    def __init__(self, resolve: Callable[[], list[str]], open_channel: Callable[[list[str], bool], AnyChannel]) -> None:
        self._resolve = resolve
        self._open = open_channel
        self._lock = threading.Lock()
        self.addresses: list[str] = []
        self._opened: dict[str, tuple[AnyChannel, GRPCInferenceServiceStub]] = {}
        self._turns = itertools.count()
        self.is_closed = False

    def find(self) -> None:
        """Look up the servers' addresses if they are not yet known. May raise `Unavailable`."""
        with self._lock:
            if not self.addresses:
                self.addresses = self._resolve()

    def stub(self, place: Place | None) -> GRPCInferenceServiceStub:
        """Return the stub for a call: for the server that keeps the call's sequence, or for any server if None.

        If the sequence has no server yet, it gets the next server in turn.
        """
        self.find()
        with self._lock:
            if self.is_closed:
                raise RuntimeError("the channels have been closed")
            addresses = self.addresses
            if place is not None:
                place.server = place.server or addresses[next(self._turns) % len(addresses)]
                addresses = [place.server, *(address for address in addresses if address != place.server)]
            key = "" if place is None else place.server
            if key not in self._opened:
                channel: Any = self._open(addresses, place is not None)  # the stub's type has a form for each kind
                self._opened[key] = channel, GRPCInferenceServiceStub(channel)
            return self._opened[key][1]

    def close(self) -> list[AnyChannel]:
        """Open no more channels. Returns the open channels, which the caller must close."""
        with self._lock:
            self.is_closed = True
            opened, self._opened = self._opened, {}
        return [channel for channel, _ in opened.values()]
