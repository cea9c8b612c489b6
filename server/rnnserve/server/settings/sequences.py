"""The options of sequences and sessions: what is kept of them, or sealed."""

import dataclasses
from pathlib import Path

from rnnserve.server.settings.option import option, read_count, read_seconds
from rnnserve.server.settings.part import SettingsPart

__all__ = ["SequenceSettings"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class SequenceSettings(SettingsPart):
    """What is kept of sequences, for how long, and how the states of sessions are sealed.

    Attributes:
        session_key: File with keys that seal the states of sessions, 32 random bytes each: the first seals, all open.
        session_age: Seconds after which a sealed state is too old to be continued. Beyond it: FAILED_PRECONDITION.
        max_sequences: Sequences whose states are kept; of one connection, half. Beyond it: RESOURCE_EXHAUSTED at the
            start; no other is dropped for it.
        max_sequence_bytes: Bytes of the states of sequences that are kept; of one connection, half. Beyond it:
            RESOURCE_EXHAUSTED.
        sequence_idle: Seconds without a request after which a sequence is dropped. Beyond it: the next request is
            NOT_FOUND, and says so.
        share_sequences: Let any connection continue any sequence whose id it names, as in Triton.
        max_streams: Streams (calls of ModelStreamInfer) that are open; of one connection, half. Beyond it:
            RESOURCE_EXHAUSTED; one of a connection with fewer takes the place of one that waits for its client, of the
            connection with most.
    """

    session_key: Path | None = dataclasses.field(
        default=None,
        metadata=option(
            "seal the states of sessions, for clients that ask for it: file with a key of 32 random bytes; of several, "
            "one after another, the first seals and all open",
            Path,
            metavar="FILE",
        ),
    )
    session_age: float = dataclasses.field(
        default=86400.0,
        metadata=option(
            "how long a sealed state may wait for the next step of its session", read_seconds, metavar="SECONDS"
        ),
    )
    max_sequences: int = dataclasses.field(
        default=16384,
        metadata=option(
            "sequences whose states are kept, half of them for one connection; more are refused", read_count
        ),
    )
    max_sequence_bytes: int = dataclasses.field(
        default=256 << 20,
        metadata=option("bytes of the states of sequences, half of them for one connection", read_count),
    )
    sequence_idle: float = dataclasses.field(
        default=60.0,
        metadata=option(
            "seconds without a request after which a sequence is dropped, and its states with it",
            read_seconds,
            metavar="SECONDS",
        ),
    )
    share_sequences: bool = dataclasses.field(
        default=False,
        metadata=option(
            "let any connection continue, replace and end any sequence whose id it names, as in Triton; else each "
            "connection has ids of its own, and a sequence_key leads to a sequence from any"
        ),
    )
    max_streams: int = dataclasses.field(
        default=8192,
        metadata=option("streams (calls of ModelStreamInfer) that may be open; more are refused", read_count),
    )
