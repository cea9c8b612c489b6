"""Calls whose messages do not arrive: which of them give way, and what they hear."""

import threading
from concurrent import futures
from typing import Any

import grpc
import pytest

from rnnserve.server.connections.slow_senders import MEMORY_IS_SHORT
from rnnserve.server.transport import late_messages
from rnnserve.server.transport.late_messages import LateMessages, end_call

PATIENCE = 20.0
METHOD = "/test.Test/Take"


class Call:
    """A call's context, whose core call notes what it is ended with."""

    def __init__(self, connection: str) -> None:
        self.connection = connection
        self.said: tuple[int, str] | None = None
        self.call = self._rpc_event = self

    def peer(self) -> str:
        return self.connection

    def cancel(self, code: int, words: str) -> None:
        self.said = code, words


class Known:
    """What is known of arriving bytes."""

    def __init__(self, connections: set[str] | None) -> None:
        self.connections = connections

    def among(self, _: object) -> set[str] | None:
        return self.connections


def late(since: float, *calls: Call, arriving: set[str] | str | None = "unasked") -> LateMessages:
    """Calls that have waited for so many seconds."""
    messages = LateMessages(lambda: since)
    messages.receiving = dict.fromkeys(calls, 0.0)  # type: ignore[arg-type]
    messages.arriving = None if arriving == "unasked" else Known(arriving)  # type: ignore[assignment, arg-type]
    return messages


def ended(*calls: Call) -> str:
    return "".join(call.connection for call in calls if call.said)


@pytest.fixture
def calls():
    return [Call(name) for name in "aabc"]


def test_where_memory_is_short_those_of_the_connection_with_most_are_ended_first(calls):
    assert late(1.0, *calls).end_silent(3) == 3
    assert ended(*calls) == "aab"
    assert calls[0].said == (grpc.StatusCode.RESOURCE_EXHAUSTED.value[0], MEMORY_IS_SHORT)


def test_messages_whose_bytes_keep_arriving_may_take_longer_but_not_for_ever(calls):
    assert late(1.0, *calls, arriving={"a", "c"}).end_silent(9) == 1
    assert ended(*calls) == "b"
    assert late(late_messages._PATIENCE_SECONDS + 1, *calls, arriving={"a", "c"}).end_silent(9) == 4


def test_none_is_ended_before_it_is_known(calls):
    messages = late(1.0, *calls, arriving=None)
    assert messages.end_silent(9) == 0
    messages.end_hopeless(0.5)
    assert ended(*calls) == ""


def test_none_is_ended_or_looked_at_that_has_not_waited_for_long(calls):
    messages = late(0.0, *calls)
    messages.arriving = None
    assert messages.end_silent(9) == 0
    messages.end_hopeless(0.5)
    assert ended(*calls) == ""


@pytest.mark.parametrize(("arriving", "expected"), [(set(), "aa"), ({"a", "c"}, "b"), ({"a", "b", "c"}, "")])
def test_where_others_wait_those_of_one_connection_are_ended_on_which_nothing_arrives(calls, arriving, expected):
    """However long the others take: with 1,024 small calls waiting, one of 15 MB was ended after half a second."""
    late(60.0, *calls, arriving=arriving).end_hopeless(0.5)
    assert ended(*calls) == expected
    assert all("did not arrive within 0.5 s" in call.said[1] for call in calls if call.said)


def test_a_client_hears_why_its_call_was_ended():
    """By grpcio's own means it would hear CANCELLED, with the message CANCELLED."""
    begun: list[grpc.ServicerContext] = []
    has_begun = threading.Event()

    def take(messages: Any, context: grpc.ServicerContext) -> bytes:
        begun.append(context)
        has_begun.set()
        return next(messages)

    handler = grpc.method_handlers_generic_handler("test.Test", {"Take": grpc.stream_unary_rpc_method_handler(take)})
    server = grpc.server(futures.ThreadPoolExecutor(2))
    server.add_generic_rpc_handlers((handler,))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
            may_end = threading.Event()
            send: Any = channel.stream_unary(METHOD)
            call = send.future(iter(lambda: may_end.wait(PATIENCE) and None, None), timeout=PATIENCE)
            assert has_begun.wait(PATIENCE)
            end_call(begun[0], "slow down")
            with pytest.raises(grpc.RpcError) as told:
                call.result()
            may_end.set()
        assert (told.value.code(), told.value.details()) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "slow down")
    finally:
        server.stop(0).wait(PATIENCE)


def test_another_grpcio_ends_it_as_it_can():
    class Other:
        is_cancelled = False

        def cancel(self) -> None:
            self.is_cancelled = True

    context = Other()
    end_call(context, "slow down")  # type: ignore[arg-type]
    assert context.is_cancelled
