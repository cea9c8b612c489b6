"""What answers the calls of a lane."""

from typing import Protocol

from rnnserve.server.lane.arrived_requests import ArrivedRequest

__all__ = ["CallHandler"]


class CallHandler(Protocol):
    """What answers the calls, on the lane's thread."""

    def take(self, arrived: list[ArrivedRequest]) -> None:
        """Take requests that have arrived together; each is to be answered, now or later. None where all is idle."""

    def take_large(self, request: ArrivedRequest) -> None:
        """Take a request of more than `LARGE` bytes, and answer it later: the lane has no time for it."""

    def work(self) -> bool:
        """Do some of what is to be done, and return whether more is: in between, the lane collects what arrives."""
