"""A call that a pool of threads has taken, and the one that a thread has."""

import threading
from collections.abc import Callable
from concurrent import futures
from typing import Any

__all__ = ["CallOfThread", "PooledCall", "connection_of"]


def _done() -> None:
    pass


_ENDED: futures.Future[Any] = futures.Future()
"""In the place of the future of a call that has been answered."""


def connection_of(args: tuple[Any, ...]) -> str:
    """Name the connection of a call by what grpcio passes with it: its event. Empty where it passes something else."""
    for arg in args:
        peer = getattr(getattr(arg, "call", None), "peer", None)
        if peer is not None:
            return str(peer().decode())
    return ""


class PooledCall:
    """A call, from the time it comes.

    Attributes:
        connection: Name of its connection.
        came: When that was, in seconds on the clock of `clock`.
        future: What its caller, grpcio, was given.
        must_refuse: Whether it is one too many.
        has_turn: Whether it has a turn to receive its message.
        received: Bytes of the message that it has received with that.
    """

    __slots__ = ("_args", "_fn", "_kwargs", "came", "connection", "future", "has_turn", "must_refuse", "received")

    def __init__(self, came: float, fn: Callable[..., Any], *args: Any, **kwargs: Any) -> None:  # noqa: ANN401 - grpcio's
        self._fn, self._args, self._kwargs = fn, args, kwargs
        self.connection = connection_of(args)
        self.came = came
        self.future: futures.Future[Any] = futures.Future()
        self.must_refuse = self.has_turn = False
        self.received = 0

    def peer(self) -> str:
        """Name its connection: it is the receiver of a message (`ReceiveWindow`)."""
        return self.connection

    def run(self) -> None:
        """Answer it, unless it was cancelled, and tell its future how that went.

        Then it keeps nothing of grpcio's: what refers to this call for longer, as the batch that it was in does, would
        keep a stream of gRPC's core, which refuses further ones where there are many.
        """
        if not self.future.set_running_or_notify_cancel():
            return
        try:
            self.future.set_result(self._fn(*self._args, **self._kwargs))
        except BaseException as error:  # noqa: BLE001 - it is the future's
            self.future.set_exception(error)
        finally:
            # An error's traceback has this frame: with its future, they would keep each other.
            self._fn, self._args, self._kwargs, self.future = _done, (), {}, _ENDED


class CallOfThread(threading.local):
    """What a thread of a pool works on.

    Attributes:
        call: The call that it has.
    """

    call = PooledCall(0.0, _done)
