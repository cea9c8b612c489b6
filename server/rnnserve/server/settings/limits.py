"""The options of what a request may be, and of how many may wait."""

import dataclasses

from rnnserve.server.errors import StartError
from rnnserve.server.settings.option import option, read_count, read_seconds
from rnnserve.server.settings.part import SettingsPart

__all__ = ["LimitSettings"]

_RESPONSE_HEAD = 1 << 20
"""Bytes of a response beside its outputs, at most."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class LimitSettings(SettingsPart):
    """What is accepted of clients.

    Attributes:
        max_queue: Requests that may wait for a model; as many more of its sequences may wait for their turn, and on the
            public transport as many calls of all models for a thread that reads them. Beyond it: RESOURCE_EXHAUSTED at
            once, for the newest of the connection that has most.
        max_wait: Seconds that what waits for a model may take, by its measured costs; on the public transport also
            seconds that a call may wait for a thread. Beyond it: RESOURCE_EXHAUSTED at once.
        max_message_bytes: Bytes of a request, as sent and decompressed. Beyond it: INVALID_ARGUMENT; as sent a quarter
            more, and gRPC itself says RESOURCE_EXHAUSTED.
        max_response_bytes: Bytes of the outputs of a response. Beyond it: INVALID_ARGUMENT: name the outputs that you
            need.
        max_held_bytes: Bytes of requests in hand and, twice, of responses not yet sent; of one connection, half. Beyond
            it: RESOURCE_EXHAUSTED at once.
        max_batch: Rows (sequences) of a request. Beyond it: INVALID_ARGUMENT.
        max_sequence: Steps of a sequence of a request. Beyond it: INVALID_ARGUMENT.
        allow_non_finite: Let NaN and infinity through to the models.

    Raises:
        StartError: If `max_held_bytes` leaves a connection less than its largest message.
    """

    max_queue: int = dataclasses.field(
        default=4096,
        metadata=option(
            "requests that may wait for each model; as many more of its sequences for their turn, and on the public "
            "transport as many calls of all models for a thread that reads them; more are refused at once",
            read_count,
        ),
    )
    max_wait: float = dataclasses.field(
        default=10.0,
        metadata=option(
            "seconds that what waits for a model may take, by its measured costs; more is refused at once",
            read_seconds,
            metavar="SECONDS",
        ),
    )
    max_message_bytes: int = dataclasses.field(
        default=16 << 20, metadata=option("largest request, in bytes", read_count)
    )
    max_response_bytes: int = dataclasses.field(
        default=64 << 20, metadata=option("largest response, in bytes of its outputs", read_count)
    )
    max_held_bytes: int = dataclasses.field(
        default=288 << 20,
        metadata=option(
            "bytes of requests in hand and responses not yet sent, half of it for one connection; more are refused",
            read_count,
        ),
    )
    max_batch: int = dataclasses.field(default=16384, metadata=option("most sequences in one request", read_count))
    max_sequence: int = dataclasses.field(default=4096, metadata=option("most steps of one sequence", read_count))
    allow_non_finite: bool = dataclasses.field(
        default=False, metadata=option("let NaN and infinity through to the models")
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        least = 2 * max(self.max_message_bytes, 2 * self.max_response_bytes + _RESPONSE_HEAD)
        if self.max_held_bytes < least:
            raise StartError(
                f"--max-held-bytes {self.max_held_bytes} is too little for one request of --max-message-bytes "
                f"{self.max_message_bytes} and its response of --max-response-bytes {self.max_response_bytes}: give it "
                f"{least} or more"
            )
