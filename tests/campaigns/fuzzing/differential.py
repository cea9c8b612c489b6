"""The same requests to two servers: both transports have to give the same bytes, or the same status and message."""

import dataclasses
import itertools
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import grpc

from rnnserve.protos import inference_pb2 as pb

__all__ = ["Difference", "Tally", "compare", "compare_streams"]

_METHOD = "/inference.GRPCInferenceService/ModelInfer"
_STREAM_METHOD = "/inference.GRPCInferenceService/ModelStreamInfer"

_TIMEOUT = 60.0
"""Seconds for a request. One that runs into it is a difference, or a hang."""

_TIMED_OUT = "Request timeout expired"
"""What a request is told that waited longer than its parameter `timeout`."""

_IN_FLIGHT = 8
"""Bursts that are in flight together."""

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


def compare(targets: Sequence[str], bursts: Iterable[list[bytes]], *, most: int = 5) -> Iterator[Tally]:
    """Send bursts to several servers; after each, give what was met until then, and end after `most` differences.

    Args:
        targets: Addresses of the servers, with the same models.
        bursts: Requests that are in flight together.
        most: How many differences are enough.
    """
    tally = Tally()
    number = 0
    channels = [grpc.insecure_channel(target, _UNLIMITED) for target in targets]
    try:
        senders = [channel.unary_unary(_METHOD) for channel in channels]
        waiting: deque[tuple[list[bytes], list[list[Any]]]] = deque()
        for burst in bursts:
            waiting.append((burst, [[send.future(sent, timeout=_TIMEOUT) for sent in burst] for send in senders]))
            while len(waiting) >= _IN_FLIGHT:
                number = _judge(*waiting.popleft(), number, tally)
            yield tally
            if len(tally.differences) >= most:
                break
        while waiting:
            number = _judge(*waiting.popleft(), number, tally)
        yield tally
    finally:
        for channel in channels:
            channel.close()


def compare_streams(targets: Sequence[str], bursts: Iterable[list[bytes]], *, most: int = 5) -> Iterator[Tally]:
    """The same, with each burst on a stream of its own, one after another, since the servers keep sequences."""
    tally = Tally()
    number = 0
    channels = [grpc.insecure_channel(target, _UNLIMITED) for target in targets]
    try:
        senders = [channel.stream_stream(_STREAM_METHOD) for channel in channels]
        for burst in bursts:
            answers = [_answers(send(iter(burst), timeout=_TIMEOUT)) for send in senders]
            together: Iterator[tuple[Outcome, ...]] = itertools.zip_longest(*answers, fillvalue=Outcome("NONE", None))
            for payload, outcomes in zip(burst, together, strict=False):  # a stream may end before its requests do
                tally.statuses[outcomes[0].status] += 1
                if len(set(outcomes)) > 1 or outcomes[0].status in _DEFECTS:
                    tally.differences.append(Difference(number, payload, outcomes))
                number += 1
            yield tally
            if len(tally.differences) >= most:
                break
    finally:
        for channel in channels:
            channel.close()


def _answers(call: Any) -> list[Outcome]:
    found: list[Outcome] = []
    try:
        for answer in call:
            status = pb.ModelStreamInferResponse.FromString(answer).infer_response.parameters
            found.append(Outcome(status["status"].string_param if "status" in status else "OK", answer))
    except grpc.RpcError as error:
        found.append(Outcome(error.code().name, error.details()))
    return found


def _judge(burst: list[bytes], answers: list[list[Any]], number: int, tally: Tally) -> int:
    for at, (payload, *calls) in enumerate(zip(burst, *answers, strict=True), number):
        outcomes = tuple(_outcome(call) for call in calls)
        if any(str(outcome.said).startswith(_TIMED_OUT) for outcome in outcomes):
            continue  # how long a request waits is not the same at each server
        tally.statuses[outcomes[0].status] += 1
        if len(set(outcomes)) > 1 or outcomes[0].status in _DEFECTS:
            tally.differences.append(Difference(at, payload, outcomes))
    return number + len(burst)


def _outcome(call: Any) -> Outcome:
    if call.exception() is None:
        return Outcome("OK", call.result())
    trailing = dict(call.trailing_metadata() or ())
    return Outcome(call.code().name, call.details(), trailing.get("grpc-status-details-bin", b""))
