"""The same requests to two servers: both transports have to give the same bytes, or the same status and message."""

import contextlib
import dataclasses
import itertools
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import grpc

from rnnserve.protos import inference_pb2 as pb

_METHOD = "/inference.GRPCInferenceService/ModelInfer"
_STREAM_METHOD = "/inference.GRPCInferenceService/ModelStreamInfer"

_TIMEOUT = 60.0
"""Seconds for a request. One that runs into it is a difference, or a hang."""

_TIMED_OUT = "Request timeout expired"
"""What a request is told that waited longer than its parameter `timeout`."""

_IN_FLIGHT = 8
"""Bursts in flight together."""

_UNLIMITED = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]


_DEFECTS = ("INTERNAL", "UNKNOWN", "DEADLINE_EXCEEDED", "CANCELLED")


class Outcome(NamedTuple):
    """What a server answered.

    Attributes:
        status: Name of the gRPC status.
        said: The response's bytes, or the status's message.
        details: Of an error, as trailing metadata have them.
    """

    status: str
    said: bytes | str | None
    details: bytes = b""


@dataclasses.dataclass(frozen=True)
class Difference:
    """A request that the servers disagree about, or that met a defect in both.

    Attributes:
        number: Which of all requests it was, from 0.
        payload: Its bytes.
        outcomes: What the servers answered, in their order.
    """

    number: int
    payload: bytes
    outcomes: tuple[Outcome, ...]

    def __str__(self) -> str:
        said = "; ".join(f"{outcome.status} {outcome.said!r}"[:400] for outcome in self.outcomes)
        return f"request {self.number}, {self.payload.hex()}: {said}"


@dataclasses.dataclass
class Tally:
    """What a comparison met.

    Attributes:
        statuses: How many requests had each status, at the first server.
        differences: The first ones.
    """

    statuses: Counter[str] = dataclasses.field(default_factory=Counter)
    differences: list[Difference] = dataclasses.field(default_factory=list)

    def note(self, number: int, payload: bytes, outcomes: tuple[Outcome, ...]) -> None:
        """Count what the servers answered to a request."""
        if any(str(outcome.said).startswith(_TIMED_OUT) for outcome in outcomes):
            return  # how long a request waits is not the same at each server
        self.statuses[outcomes[0].status] += 1
        if len(set(outcomes)) > 1 or outcomes[0].status in _DEFECTS:
            self.differences.append(Difference(number, payload, outcomes))


def compare(
    targets: Sequence[str], bursts: Iterable[list[bytes]], *, on_streams: bool = False, most: int = 5
) -> Iterator[Tally]:
    """Send bursts to several servers; after each, give what was met until then, and end after `most` differences.

    Args:
        targets: Addresses of the servers, with the same models.
        bursts: Requests to keep in flight together.
        on_streams: Whether each burst is sent on a stream of its own, one after another since servers keep sequences.
        most: How many differences are enough.
    """
    tally, number = Tally(), 0
    waiting: deque[tuple[list[bytes], list[Callable[[], list[Outcome]]]]] = deque()
    with contextlib.ExitStack() as stack:
        channels = [stack.enter_context(grpc.insecure_channel(target, _UNLIMITED)) for target in targets]
        for burst in itertools.chain(bursts, itertools.repeat(None)):
            if burst is not None and len(tally.differences) < most:
                waiting.append((burst, [(_stream if on_streams else _calls)(channel, burst) for channel in channels]))
                if len(waiting) < (1 if on_streams else _IN_FLIGHT):
                    continue
            elif not waiting:
                return
            sent, answers = waiting.popleft()
            together = itertools.zip_longest(*(answer() for answer in answers), fillvalue=Outcome("NONE", None))
            for payload, outcomes in zip(sent, together, strict=False):  # a stream may end before its requests do
                tally.note(number, payload, outcomes)
                number += 1
            yield tally


def _calls(channel: grpc.Channel, burst: list[bytes]) -> Callable[[], list[Outcome]]:
    send: Any = channel.unary_unary(_METHOD)
    calls = [send.future(sent, timeout=_TIMEOUT) for sent in burst]
    return lambda: [_outcome(call) for call in calls]


def _outcome(call: Any) -> Outcome:
    if call.exception() is None:
        return Outcome("OK", call.result())
    trailing = dict(call.trailing_metadata() or ())
    return Outcome(call.code().name, call.details(), trailing.get("grpc-status-details-bin", b""))


def _stream(channel: grpc.Channel, burst: list[bytes]) -> Callable[[], list[Outcome]]:
    send: Any = channel.stream_stream(_STREAM_METHOD)
    call = send(iter(burst), timeout=_TIMEOUT)

    def answers() -> list[Outcome]:
        found: list[Outcome] = []
        try:
            for answer in call:
                status = pb.ModelStreamInferResponse.FromString(answer).infer_response.parameters
                found.append(Outcome(status["status"].string_param if "status" in status else "OK", answer))
        except grpc.RpcError as error:
            found.append(Outcome(error.code().name, error.details()))
        return found

    return answers
