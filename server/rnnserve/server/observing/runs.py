"""What has been run and refused, for the observer, if there is one: runs are collected around a batch's answers."""

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

from rnnserve.server.counting.table import Counts, answering
from rnnserve.server.errors import ServeError
from rnnserve.server.observing.origins import Asked, Origin

__all__ = ["RunBatch", "SeenRun", "WatchedRun", "observed", "tell_refusal"]


class SeenRun(NamedTuple):
    """A run, and the requests that it has answered.

    Attributes:
        counts: Numbers of the version.
        origins: Where the requests come from.
        rows: Rows of each of them.
        arrivals: When each has arrived, in seconds on the clock of `clock`.
        started: When the run began, on the same clock.
        ended: When it ended.
        padded_steps: Steps that it has made beside those of the requests.
        is_logged: Whether each request has a line.
    """

    counts: Counts
    origins: Sequence[Origin]
    rows: Sequence[int]
    arrivals: Sequence[float]
    started: float
    ended: float
    padded_steps: int
    is_logged: bool


class Observer(Protocol):
    """What is told of requests. It returns at once."""

    def refused(self, origin: Origin, error: ServeError, /) -> None:
        """Learn of a refusal."""

    def ran(
        self,
        counts: Counts,
        origins: list[Origin],
        batch: "RunBatch",
        started: float,
        ended: float,
        sent: list[bool],
        /,
    ) -> None:
        """Learn of a run, and of which of its requests have their answers."""


class _Observed:
    """Who observes in this process.

    Attributes:
        refusals: What learns of refusals; None where nothing does.
        runs: What learns of runs; None where nothing does.
    """

    refusals: Observer | None = None
    runs: Observer | None = None


observed = _Observed()


def tell_refusal(asked: Asked, error: ServeError) -> str:
    """Tell who observes of a refusal, and return the id that its client is told.

    Args:
        asked: The request, which has not been answered yet.
        error: The error that its client is told.
    """
    origin = asked.origin()
    observer = observed.refusals
    if observer is not None:
        observer.refused(origin, error)
    return origin.request_id


class _Member(Protocol):
    def origin(self) -> Origin: ...
    def answer(self, answer: Any, /) -> None: ...  # noqa: ANN401 - each kind of batch has its own
    def refuse(self, error: ServeError, /) -> None: ...


class RunBatch(Protocol):
    """A batch, as far as it is told of."""

    @property
    def members(self) -> Sequence[_Member]:
        """The requests."""

    @property
    def arrivals(self) -> Sequence[float]:
        """Their arrivals."""

    @property
    def rows_each(self) -> Sequence[int]:
        """Their rows."""

    @property
    def padded_steps(self) -> int:
        """Steps beside theirs."""


class WatchedRun:
    """A run that is being answered, and is observed.

    Attributes:
        members: What is to be answered in the place of the batch's members.
    """

    def __init__(self, observer: Observer, counts: Counts, batch: RunBatch, started: float, ended: float) -> None:
        """Note where the requests come from, before their answers are sent."""
        self._observer = observer
        self._counts = counts
        self._batch = batch
        self._times = started, ended
        self._origins = [member.origin() for member in batch.members]
        self.members: list[Any] = [_WatchedMember(member) for member in batch.members]

    def tell(self) -> None:
        """Tell of it, now that its requests have been answered."""
        sent = [member.is_sent for member in self.members]
        self._observer.ran(self._counts, self._origins, self._batch, *self._times, sent)


class _WatchedMember:
    """Answers a request, and notes whether the answer has been sent: a refusal after the run is told by itself."""

    __slots__ = ("_member", "is_sent")

    def __init__(self, member: _Member) -> None:
        self._member = member
        self.is_sent = False

    def answer(self, answer: Any) -> None:  # noqa: ANN401 - each kind of batch has its own
        """Send the answer."""
        unsent = answering.unsent
        self._member.answer(answer)
        self.is_sent = answering.unsent == unsent

    def refuse(self, error: ServeError) -> None:
        """Send an error."""
        self._member.refuse(error)
