"""The channels of a client: one for all that any server may answer, and those that stay with one server."""

import contextlib
import itertools
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import grpc

from rnnserve.client.errors import ClientError
from rnnserve.client.remote_calls import Place
from rnnserve.protos.inference_pb2_grpc import GRPCInferenceServiceStub

__all__ = ["ServerChannels"]

AnyChannel = TypeVar("AnyChannel", bound=grpc.Channel | grpc.aio.Channel)


@dataclass
class _Leased(Generic[AnyChannel]):
    """A channel, its stub, and how many calls are under way on it."""

    channel: AnyChannel
    stub: GRPCInferenceServiceStub
    calls: int = 0


class ServerChannels(Generic[AnyChannel]):
    """Opens channels when they are first needed, and another one where the servers' names lead elsewhere by then."""

    def __init__(
        self,
        resolve: Callable[[], list[str]],
        open_channel: Callable[[list[str], bool], AnyChannel],
        close_channel: Callable[[AnyChannel], None],
        *,
        look_up_seconds: float | None,
    ) -> None:
        """Begin with none open.

        Args:
            resolve: Function that gives the servers' addresses.
            open_channel: Function that opens a channel to the addresses given: whether it stays with the first one that
                answers is its second argument; else it goes round all.
            close_channel: Function that closes a channel on which no call is under way.
            look_up_seconds: Seconds after which the addresses are looked up again, by a thread, when the next call is
                made; None where they cannot change without gRPC noticing.
        """
        self._resolve = resolve
        self._open = open_channel
        self._close_channel = close_channel
        self._look_up_seconds = look_up_seconds
        self._lock = threading.Lock()
        self._addresses: list[str] = []
        self._looked_up_at = 0.0
        self._any: _Leased[AnyChannel] | None = None
        self._staying: dict[str, _Leased[AnyChannel]] = {}  # by the address that each begins with
        self._left: list[_Leased[AnyChannel]] = []  # each closed after its last call
        self._turns = itertools.count()
        self._is_closed = False

    @property
    def is_closed(self) -> bool:
        """Whether they have been closed."""
        return self._is_closed

    @property
    def is_found(self) -> bool:
        """Whether the servers' addresses are known, so that `lease` does not wait for their names."""
        return bool(self._addresses)

    @property
    def addresses(self) -> list[str]:
        """The servers' addresses, as far as they are known."""
        return self._addresses

    def find(self) -> None:
        """Look the servers' addresses up, unless they are known.

        Raises:
            Unavailable: If no name of a server is found.
        """
        with self._lock:
            if not self._addresses:
                self._addresses, self._looked_up_at = self._resolve(), time.monotonic()

    @contextlib.contextmanager
    def lease(self, place: Place | None) -> Iterator[GRPCInferenceServiceStub]:
        """Give the stub for a call, until the call has ended.

        Args:
            place: Place of the sequence that the call belongs to, which gets a server in turn if it has none; None for
                a call that any server may answer.

        Raises:
            RuntimeError: If the channels have been closed.
            Unavailable: If no name of a server is found.
        """
        self.find()
        with self._lock:
            if self._is_closed:
                raise RuntimeError("the channels have been closed")
            self._look_up_late()
            leased = self._channel_of_all() if place is None else self._channel_at(place)
            leased.calls += 1
        try:
            yield leased.stub
        finally:
            with self._lock:
                leased.calls -= 1
                over = [left for left in self._left if not left.calls]
                self._left = [left for left in self._left if left.calls]
            for left in over:
                self._close_channel(left.channel)

    def close(self) -> list[AnyChannel]:
        """Open no more.

        Returns:
            The channels that are open, for closing.
        """
        with self._lock:
            self._is_closed = True
            leased = [*self._staying.values(), *self._left]
            if self._any is not None:
                leased.append(self._any)
            self._any, self._staying, self._left = None, {}, []
        return [each.channel for each in leased]

    def _channel_of_all(self) -> _Leased[AnyChannel]:
        if self._any is None:
            self._any = self._leased(self._addresses, stays=False)
        return self._any

    def _channel_at(self, place: Place) -> _Leased[AnyChannel]:
        """The channel that begins with a sequence's server. It stays with who answers while the connection lasts."""
        if not place.server:
            place.server = self._addresses[next(self._turns) % len(self._addresses)]
        if place.server not in self._staying:
            others = [address for address in self._addresses if address != place.server]
            self._staying[place.server] = self._leased([place.server, *others], stays=True)
        return self._staying[place.server]

    def _leased(self, addresses: list[str], *, stays: bool) -> _Leased[AnyChannel]:
        channel: Any = self._open(addresses, stays)  # the stub's type has two forms, one for each kind of channel
        return _Leased(channel, GRPCInferenceServiceStub(channel))

    def _look_up_late(self) -> None:
        now = time.monotonic()
        if self._look_up_seconds is not None and now - self._looked_up_at > self._look_up_seconds:
            self._looked_up_at = now
            threading.Thread(target=self._look_up, name="rnnserve names", daemon=True).start()

    def _look_up(self) -> None:
        try:
            found = self._resolve()
        except ClientError:  # the servers that were found go on
            return
        with self._lock:
            if set(found) == set(self._addresses):
                return
            # Sequences stay where they are; new ones, and all other calls, go to the servers of now.
            self._addresses = found
            if self._any is not None:
                self._left.append(self._any)
                self._any = None
