"""Send the same requests to two servers: both transports must respond with equal bytes, or equal status and message."""

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
    """A server's answer.

    Attributes:
        status: Name of the gRPC status.
        said: The response's bytes, or the status's message.
        details: Error details in the trailing metadata.
    """

    status: str
    said: bytes | str | None
    details: bytes = b""


@dataclasses.dataclass(frozen=True)
class Difference:
    """A request with different answers, or one that causes an internal error in both servers.

    Attributes:
        number: The request's number, from 0.
        payload: The request's bytes.
        outcomes: The answers, in the order of the servers.
    """

    number: int
    payload: bytes
    outcomes: tuple[Outcome, ...]

    def __str__(self) -> str:
        said = "; ".join(f"{outcome.status} {outcome.said!r}"[:400] for outcome in self.outcomes)
        return f"request {self.number}, {self.payload.hex()}: {said}"


@dataclasses.dataclass
class Tally:
    """The result of a comparison.

    Attributes:
        statuses: Number of requests by the first server's status.
        differences: The first ones.
    """

    statuses: Counter[str] = dataclasses.field(default_factory=Counter)
    differences: list[Difference] = dataclasses.field(default_factory=list)

    def note(self, number: int, payload: bytes, outcomes: tuple[Outcome, ...]) -> None:
        """Count the servers' answers to a request."""
        if any(str(outcome.said).startswith(_TIMED_OUT) for outcome in outcomes):
            return  # the waiting time differs between servers
        self.statuses[outcomes[0].status] += 1
        if len(set(outcomes)) > 1 or outcomes[0].status in _DEFECTS:
            self.differences.append(Difference(number, payload, outcomes))


def compare(
    targets: Sequence[str], bursts: Iterable[list[bytes]], *, on_streams: bool = False, most: int = 5
) -> Iterator[Tally]:
    """Send bursts to several servers. Yield the tally after each burst, and end after `most` differences.

    Args:
        targets: Addresses of the servers, with the same models.
        bursts: Requests to keep in flight together.
        on_streams: Whether each burst is sent on a separate stream, one after another, because servers keep sequences.
        most: Number of differences after which to stop.
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
