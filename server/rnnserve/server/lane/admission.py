"""Admission: from a call that has arrived to one that waits, recognised by its prefix or parsed at the boundary."""

from collections.abc import Iterable

from rnnserve.server.errors import InternalError, ServeError
from rnnserve.server.lane.completion_queue import LaneCall
from rnnserve.server.lane.pending_calls import ParsedCall, PendingCall, RecognisedCall
from rnnserve.server.lane.prefixes import PrefixCache, RequestPrefix
from rnnserve.server.protocol.service import Service
from rnnserve.server.repository.model import Model

__all__ = ["Admission"]


class Admission:
    """Admits calls, and keeps the prefixes of those that passed the boundary. For one thread, the lane's."""

    def __init__(self, service: Service) -> None:
        """Start without any prefix.

        Args:
            service: Takes requests through the boundary.
        """
        self._service = service
        self._prefixes = PrefixCache(allow_non_finite=service.settings.allow_non_finite)
        self._generation = service.repository.generation

    def models_have_changed(self) -> bool:
        """Drop the prefixes where what serves has changed since the last call; return whether it has."""
        generation = self._service.repository.generation
        if generation == self._generation:
            return False
        self._generation = generation
        self._prefixes.clear()
        return True

    def models(self) -> set[Model]:
        """The models that serve."""
        return {served.model for served in self._service.repository.served()}

    def shared_prefix(self, calls: Iterable[LaneCall]) -> RequestPrefix | None:
        """The prefix of all of these where it is known, one and the same, and none has an id; None otherwise."""
        return self._prefixes.shared(calls)

    def admit(self, calls: Iterable[LaneCall], arrived: float) -> list[PendingCall]:
        """Admit calls that arrived together; refuse those that do not pass the boundary.

        Args:
            calls: The calls.
            arrived: When, in seconds on the clock of `batching.clock`.
        """
        admitted: list[PendingCall] = []
        for call in calls:
            found = self._prefixes.recognise(call.payload)
            if found is not None:
                admitted.append(RecognisedCall(call, *found, arrived, self._service))
                continue
            try:
                served, checked = self._service.accept(call.payload)
                self._prefixes.add(call.payload, served, checked)
            except ServeError as error:
                call.refuse(error)
            except Exception as error:  # noqa: BLE001 - one request's defect must not cost the others' answers
                call.refuse(InternalError.hiding(error))
            else:
                admitted.append(ParsedCall(call, served, checked, arrived))
        return admitted
