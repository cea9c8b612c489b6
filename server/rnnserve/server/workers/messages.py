"""What the supervisor and its workers say to one another on their two pipes.

A worker's life: `Loaded`, then the supervisor's `Listen`, then `Ready`, and `Beat` from then on. That the supervisor's
pipe is closed means that it has ended. The other messages are of changes (`joint_loading`, `mending`) and of counts
(`worker_statistics`).
"""

import dataclasses
from typing import ClassVar

from rnnserve.server.repository.pins import Found, Pins

__all__ = [
    "Abandon",
    "Adopt",
    "Adopted",
    "Beat",
    "Cannot",
    "Count",
    "Counted",
    "Counts",
    "Done",
    "Failed",
    "Listen",
    "Loaded",
    "Look",
    "Mend",
    "Message",
    "Prepare",
    "Prepared",
    "Proposal",
    "Propose",
    "Ready",
    "Release",
    "Sum",
    "SupervisorMessage",
    "Turn",
    "Want",
    "WorkerMessage",
]


@dataclasses.dataclass(frozen=True)
class Proposal:
    """A change of what all workers serve.

    Attributes:
        names: The models that change, one at least.
        pins: Of all models afterwards.
        found: What was found of versions where they were tried, which the other workers take over.
    """

    names: tuple[str, ...]
    pins: Pins
    found: Found = ()


@dataclasses.dataclass(frozen=True)
class Message:
    """A message of either side: a frozen dataclass, whose fields have types that `message_lines` can write."""

    sender: ClassVar[str]


@dataclasses.dataclass(frozen=True)
class WorkerMessage(Message):
    """A message to the supervisor."""

    sender = "a worker"


@dataclasses.dataclass(frozen=True)
class SupervisorMessage(Message):
    """A message to a worker."""

    sender = "the supervisor"


@dataclasses.dataclass(frozen=True)
class Loaded(WorkerMessage):
    """Its models are loaded and proven; another worker needs these pins to serve the same."""

    pins: Pins


@dataclasses.dataclass(frozen=True)
class Ready(WorkerMessage):
    """It listens."""


@dataclasses.dataclass(frozen=True)
class Beat(WorkerMessage):
    """The threads that take and run requests make progress: about once a second."""


@dataclasses.dataclass(frozen=True)
class Want(WorkerMessage):
    """It was asked for a change, and waits for the turn."""


@dataclasses.dataclass(frozen=True)
class Propose(WorkerMessage):
    """It has loaded a change beside what serves, and waits until the others have."""

    proposal: Proposal


@dataclasses.dataclass(frozen=True)
class Prepared(WorkerMessage):
    """It has loaded what was proposed, and keeps it."""


@dataclasses.dataclass(frozen=True)
class Cannot(WorkerMessage):
    """It could not load the same versions with the same digests."""

    reason: str


@dataclasses.dataclass(frozen=True)
class Adopted(WorkerMessage):
    """It serves what was proposed."""


@dataclasses.dataclass(frozen=True)
class Release(WorkerMessage):
    """It gives back the turn."""


@dataclasses.dataclass(frozen=True)
class Sum(WorkerMessage):
    """It asks what the others have counted, under a number of its own."""

    number: int


@dataclasses.dataclass(frozen=True)
class Counted(WorkerMessage):
    """What it has counted itself, a ModelStatisticsResponse, for the supervisor's `Count` of this number."""

    number: int
    counts: bytes


@dataclasses.dataclass(frozen=True)
class Listen(SupervisorMessage):
    """It may listen."""


@dataclasses.dataclass(frozen=True)
class Turn(SupervisorMessage):
    """Make the change that you want."""


@dataclasses.dataclass(frozen=True)
class Look(SupervisorMessage):
    """The same, for changes of the repository's folder."""


@dataclasses.dataclass(frozen=True)
class Prepare(SupervisorMessage):
    """Load this beside what serves."""

    proposal: Proposal


@dataclasses.dataclass(frozen=True)
class Mend(SupervisorMessage):
    """The same, if it can be had again: all others serve it."""

    proposal: Proposal


@dataclasses.dataclass(frozen=True)
class Adopt(SupervisorMessage):
    """Serve it: all have it."""


@dataclasses.dataclass(frozen=True)
class Abandon(SupervisorMessage):
    """Drop it."""


@dataclasses.dataclass(frozen=True)
class Done(SupervisorMessage):
    """All serve what you have proposed."""


@dataclasses.dataclass(frozen=True)
class Failed(SupervisorMessage):
    """None does."""

    reason: str


@dataclasses.dataclass(frozen=True)
class Count(SupervisorMessage):
    """Say what you have counted, under this number."""

    number: int


@dataclasses.dataclass(frozen=True)
class Counts(SupervisorMessage):
    """What the others have counted, those that have answered in time, for the worker's `Sum` of this number."""

    number: int
    counts: tuple[bytes, ...]
