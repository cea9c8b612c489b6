"""Calls of a method of any kind, by its name."""

import threading

import grpc

from rnnserve.protos import front_pb2
from rnnserve.protos.access_table import METHODS, ROLES, Need
from rnnserve.protos.protocol_words import FRONT_EXCHANGE

DENIED = (grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED)


def check_each_method(callers, model):
    """Check which callers each method answers, and that no refusal tells of a model.

    Args:
        callers: By kind, a function of a method that gives a status and its words; kinds that are no role are nobody's.
        model: Name of the model.
    """
    for method, need in METHODS.items():
        if method == FRONT_EXCHANGE:
            continue
        words = set()
        for kind, ask in callers.items():
            code, said, _ = ask(method)
            if need is Need.HEALTH or kind in need.value:
                assert code not in DENIED, (method, kind, code, said)
                continue
            expected = "PERMISSION_DENIED" if kind in ROLES else "UNAUTHENTICATED"
            assert (code.name, model in said) == (expected, False), (method, kind, code, said)
            if kind not in ROLES:
                words.add(said)
        assert len(words) <= 1, (method, words)


def statuses_before_a_message(channel, methods):
    """The statuses with which calls of these methods end, none of which sends anything. An answer fails the test."""
    never, statuses = threading.Event(), set()

    def messages():
        never.wait(20)
        yield b""

    try:
        for method in methods:
            call = channel.stream_stream(method)(messages(), timeout=10)
            try:
                raise AssertionError(f"{method} answers {next(call)!r}")
            except grpc.RpcError as refused:
                statuses.add(refused.code())
    finally:
        never.set()
    return statuses


def ask_any(channel, method, body=b"", metadata=(), timeout=5.0):
    """Ask a method of any kind. The status, its words, and the first message, None where there is none."""
    calls = channel.stream_stream(method)(iter([body]), metadata=metadata, timeout=timeout)
    try:
        first = next(iter(calls), None)
        if first is not None:
            calls.cancel()
            return grpc.StatusCode.OK, "", first
        return calls.code(), calls.details(), None
    except grpc.RpcError as error:
        return error.code(), error.details(), None


def front_statuses(channel, headers, body):
    """The statuses of requests with these headers each, in their order, which a front sends in one message."""
    message, over, found = front_pb2.FrontRequests(), threading.Event(), {}
    for number, each in enumerate(headers):
        entry = message.entries.add(number=number, request=body, timeout=10.0, peer="ipv4:10.0.0.1:5")
        entry.headers.update(each)

    def messages():
        yield message.SerializeToString()
        over.wait(20)

    for said in channel.stream_stream(FRONT_EXCHANGE)(messages(), timeout=10):
        found |= {entry.number: entry.status for entry in front_pb2.FrontAnswers.FromString(said).entries}
        if len(found) == len(headers):
            over.set()
    return [found[number] for number in range(len(headers))]
