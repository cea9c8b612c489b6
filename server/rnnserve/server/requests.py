"""A request on the lane, with what is noted of it until it is answered."""

from rnnserve.server.headers import Header
from rnnserve.server.lane import LaneCall
from rnnserve.server.repository import Served
from rnnserve.server.service import Call

__all__ = ["Request", "points_of"]


class Request(LaneCall):
    """A call, and what is noted of it while it waits.

    Attributes:
        call: What parsing and the boundary have found; None where its header was known.
        header: What its header means, where that was known.
        id_field: Its id as a field, where its header was known.
        arrived: When it came, on `time.perf_counter_ns`'s clock.
    """

    __slots__ = ("arrived", "call", "header", "id_field")

    call: Call | None
    header: Header
    id_field: bytes
    arrived: int

    @property
    def served(self) -> Served:
        """The model that it asks."""
        return self.header.served if self.call is None else self.call.served

    @property
    def rows(self) -> int:
        """Size of its batch axis."""
        return self.header.batch if self.call is None else self.call.inference.batch

    @property
    def steps(self) -> int:
        """Its longest length, or the size of its sequence axis where its data would have to be looked into."""
        return self.header.sequence if self.call is None else self.call.inference.longest


def points_of(requests: list[Request]) -> int:
    """Rows * steps of all of these."""
    return sum([request.rows * request.steps for request in requests])
