"""Calls on the lane that wait to be run: parsed ones, and those recognised by their prefix."""

from collections.abc import Mapping

from rnnserve.server.batching.pending import PendingRequest
from rnnserve.server.boundary.checked_request import Array, CheckedRequest
from rnnserve.server.errors import ServeError
from rnnserve.server.lane.completion_queue import LaneCall
from rnnserve.server.lane.prefixes import RequestPrefix
from rnnserve.server.protocol.responses import encode_response
from rnnserve.server.protocol.service import Service
from rnnserve.server.repository.repository import ServedVersion

__all__ = ["ParsedCall", "PendingCall", "RecognisedCall"]


class PendingCall(PendingRequest):
    """A call on the lane that waits.

    Attributes:
        call: The call.
        served: The version that it asks.
        prefix: Its prefix where that was recognised, else None.
        id_field: Its id's field, tag and size included, where the prefix was recognised; else empty.
    """

    __slots__ = ("call", "id_field", "prefix", "served")

    def __init__(
        self,
        call: LaneCall,
        served: ServedVersion,
        rows: int,
        steps: int,
        arrived: float,
        prefix: RequestPrefix | None = None,
        id_field: bytes = b"",
    ) -> None:
        super().__init__(rows, steps, call.deadline, arrived)
        self.call = call
        self.served = served
        self.prefix = prefix
        self.id_field = id_field

    @property
    def connection(self) -> str:
        """Names its connection."""
        return self.call.peer()

    def watch(self) -> None:
        """Note a cancellation as soon as it comes. It costs two events a request, so it is for those that wait long."""
        self.call.watch(self.cancel)

    def refuse(self, error: ServeError) -> None:
        """Answer with an error."""
        self.call.refuse(error)


class ParsedCall(PendingCall):
    """A call that has passed the boundary."""

    __slots__ = ("_checked",)

    def __init__(self, call: LaneCall, served: ServedVersion, checked: CheckedRequest, arrived: float) -> None:
        super().__init__(call, served, checked.batch, checked.steps, arrived)
        self._checked = checked

    def check(self) -> CheckedRequest:
        """Give the checked request."""
        return self._checked

    def answer(self, outputs: Mapping[str, Array]) -> None:
        """Answer with the outputs asked for."""
        self.call.answer(encode_response(self.served.model, self._checked, outputs))


class RecognisedCall(PendingCall):
    """A call whose prefix is known: its sizes are, and its values are checked when it is run."""

    __slots__ = ("_known", "_service")

    def __init__(
        self, call: LaneCall, prefix: RequestPrefix, id_field: bytes, arrived: float, service: Service
    ) -> None:
        super().__init__(call, prefix.served, prefix.batch, prefix.steps, arrived, prefix, id_field)
        self._known = prefix
        self._service = service

    def check(self) -> CheckedRequest:
        """Check the values: at once where all are plainly valid, else at the boundary, for the version it began with.

        Raises:
            ServeError: If the request does not pass the boundary.
        """
        payload = self.call.payload
        checked = self._known.read(payload, len(self.id_field))
        return self._service.check(payload, self.served) if checked is None else checked

    def answer(self, outputs: Mapping[str, Array]) -> None:
        """Answer with the outputs asked for."""
        self.call.answer(self._known.head.encode(self.id_field, outputs.values()))
