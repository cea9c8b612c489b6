"""Admission: from a call that has arrived to one that waits, recognised by its prefix or parsed at the boundary."""

from collections.abc import Callable, Iterable

from rnnserve.server.connections.byte_budget import LARGE
from rnnserve.server.errors import InternalError, ServeError
from rnnserve.server.fast_path.calls import ArrivedRequest
from rnnserve.server.fast_path.pending import ParsedCall, PendingCall, RecognisedCall, StepCall
from rnnserve.server.fast_path.templates import PrefixCache, RequestPrefix
from rnnserve.server.protocol.sequences import BeganOnAnotherVersion
from rnnserve.server.protocol.service import Service
from rnnserve.server.repository.model import Model
from rnnserve.server.validation.parsing import decompress_small, is_compressed

__all__ = ["Admission"]


TakeLarge = Callable[[ArrivedRequest], None]
TakeStep = Callable[[Model, StepCall], None]


class Admission:
    """Admits calls, and keeps the prefixes of those that passed the boundary. For one thread, the fast path's."""

    def __init__(self, service: Service, take_large: TakeLarge, take_step: TakeStep) -> None:
        """Start without any prefix.

        Args:
            service: The service, which takes requests through the boundary.
            take_large: A function that takes calls for which the fast path has no time, since they are large when
                they are decompressed.
            take_step: A function that takes requests of sequences whose turn comes later.
        """
        self._service = service
        self._take_large = take_large
        self._take_step = take_step
        self._prefixes = PrefixCache(allow_non_finite=service.settings.allow_non_finite)
        self._of_sequences: dict[RequestPrefix, RequestPrefix | None] = {}
        self._generation = service.repository.generation
        self._asks_for_tokens = service.settings.access_file is not None

    def models_have_changed(self) -> bool:
        """Drop the prefixes where what serves has changed since the last call; return whether it has."""
        generation = self._service.repository.generation
        if generation == self._generation:
            return False
        self._generation = generation
        self._prefixes.clear()
        self._of_sequences.clear()
        return True

    def models(self) -> set[Model]:
        """The models that serve."""
        return {model for served in self._service.repository.served() for model in served.models}

    def shared_prefix(self, calls: Iterable[ArrivedRequest]) -> RequestPrefix | None:
        """The prefix of all of these where it is one, known, and none has varying fields; None otherwise."""
        prefix = self._prefixes.shared(calls)
        if prefix is not None and self._asks_for_tokens:
            for call in calls:
                grant = call.grant
                if grant is not None and not grant.is_for_all and not grant.is_for(prefix.served.model.name):
                    return None  # those that are for it are admitted one by one
        return prefix

    def admit(self, calls: Iterable[ArrivedRequest], arrived: float) -> list[PendingCall]:
        """Admit calls that arrived together; refuse those that do not pass the boundary.

        Without those that come later: large ones, and requests of sequences that wait for their turn.

        Args:
            calls: The calls.
            arrived: Time of its arrival, in seconds on the clock of `clock`.
        """
        admitted: list[PendingCall] = []
        for call in calls:
            try:
                pending = self._admit(call, arrived)
                if pending is not None:
                    admitted.append(pending)
            except ServeError as error:
                call.refuse(error)
            except Exception as error:  # noqa: BLE001 - one request's defect must not cost the others' answers
                call.refuse(InternalError.hiding(error))
        return admitted

    def _admit(self, call: ArrivedRequest, arrived: float) -> PendingCall | None:
        service, sequences = self._service, self._service.sequences
        found = self._prefixes.recognise(call.payload)
        if found is None and is_compressed(call.payload):
            payload = decompress_small(call.payload, LARGE)
            if payload is None:
                self._take_large(call)
                return None
            call.payload = payload
            found = self._prefixes.recognise(payload)
        if found is not None:
            if call.grant is not None and not call.grant.is_for_all:
                call.grant.check_model(found.prefix.served.model.name)
            recognised = RecognisedCall(call, found, arrived, service)
            if found.sequence is None:
                return recognised
            if found.sequence.starts:
                recognised.check()  # a wrong request must not begin a sequence in the place of another
            step = StepCall(recognised, self._prefix_of_sequences(found.prefix), self._take_step)
            try:
                return step.enter(sequences, found.sequence)
            except BeganOnAnotherVersion:
                pass  # parsing says which version the request asks for
            except ServeError as error:
                recognised.check()  # a mistake in the request itself is reported first
                raise error.of(found.prefix.served.model.statistics.counts)  # noqa: B904 - the same error
        served, checked = service.accept(call.payload, call)
        if found is None:
            self._prefixes.add(call.payload, served, checked)
        parsed = ParsedCall(call, served, checked, arrived)
        if checked.sequence is None:
            return parsed
        try:
            return StepCall(parsed, None, self._take_step).enter(sequences, checked.sequence)
        except ServeError as error:
            raise error.of(served.model.statistics.counts)  # noqa: B904 - the same error

    def _prefix_of_sequences(self, prefix: RequestPrefix) -> RequestPrefix | None:
        try:
            return self._of_sequences[prefix]
        except KeyError:
            return self._of_sequences.setdefault(prefix, prefix.of_sequences())
