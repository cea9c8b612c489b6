"""Calls with too many header fields come to no handler."""

import functools
import threading
import time
from concurrent import futures

import grpc
import pytest

from campaigns.drills.wire.http2 import END_HEADERS, HEADERS, Http2Connection, call_headers, frame, literal
from kit.call_events import CallEvent
from rnnserve.server.connections.header_limit import HeaderLimit, HostileConnections

METHOD = "/service/Method"


@pytest.fixture(scope="module")
def server():
    """The port of a server whose method gives back how many header fields it was sent, these numbers, and which
    connections it would end."""
    seen, ended = [], []

    def count(_, context):
        seen.append(len(context.invocation_metadata()))
        return b"%d" % seen[-1]

    handlers = {"Method": grpc.unary_unary_rpc_method_handler(count)}
    limited = HeaderLimit(grpc.method_handlers_generic_handler("service", handlers), HostileConnections(ended.append))
    server = grpc.server(futures.ThreadPoolExecutor(1))
    server.add_generic_rpc_handlers((limited,))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield port, seen, ended
    server.stop(0).wait()


def test_a_usual_call_is_answered(server):
    with grpc.insecure_channel(f"127.0.0.1:{server[0]}") as channel:
        call: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(METHOD)
        assert int(call(b"", timeout=20)) < 10
        assert int(call(b"", timeout=20, metadata=(("x-key", "y" * 5000),))) < 10
        unknown: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary("/service/Unknown")
        with pytest.raises(grpc.RpcError) as refused:
            unknown(b"", timeout=20)
        assert refused.value.code() == grpc.StatusCode.UNIMPLEMENTED


@pytest.mark.parametrize(("references", "is_ended"), [(10, False), (20, True)])
def test_a_field_that_is_referred_to_again_and_again(server, references, is_ended):
    """By a client that acknowledges no settings: until it does, gRPC's core lets 16 MB through."""
    port, seen, ended = server
    before = len(seen)
    said = b""
    for _ in range(5):  # the core refuses one of some hundreds by itself, by chance, without a word
        ended.clear()
        said = answer_to(port, b"\x40" + literal("x-key", "y" * 4000)[1:] + b"\xbe" * references)
        if b"grpc-message" in said:
            break
    assert b"the call's header fields take " in said
    assert b"at most 16,384 are read" in said
    assert len(seen) == before
    assert [one.startswith("ipv4:127.0.0.1:") for one in ended] == [True] * is_ended


def answer_to(port, fields):
    """The bytes that come until a call with these header fields has a status."""
    said, ends = b"", time.monotonic() + 20
    with Http2Connection("127.0.0.1", port) as connection:
        connection.send(frame(HEADERS, END_HEADERS, 1, call_headers(METHOD) + fields), ends)
        while b"grpc-status" not in said:
            frames = connection.read(ends)
            assert frames, said
            said += b"".join(one.payload for one in frames)
    return said


def wait_for(event, _):
    event.wait(20)


def test_a_connection_has_been_ended_before_its_call_is_refused():
    told = []

    def end(peer):
        time.sleep(0.02)
        told.append(peer)

    connections = HostileConnections(end)
    refused = connections.refusing.submit(lambda _: told.append("refused"), CallEvent("one"))
    assert told[:1] == ["one"]
    refused.result(20)
    assert told == ["one", "refused"]
    connections.end_and_wait("two")
    assert told[2:] == ["two"]
    connections.thread.shutdown()


def test_a_connection_that_cannot_be_ended_keeps_others_waiting_for_a_moment_only():
    may_end = threading.Event()
    connections = HostileConnections(functools.partial(wait_for, may_end), longest_seconds=0.01)
    connections.end_and_wait("one")
    assert not may_end.is_set()
    may_end.set()
    connections.thread.shutdown()


def test_a_connection_that_has_gone_is_noted_in_the_log(caplog):
    def end(_):
        raise OSError("it is gone")

    connections = HostileConnections(end)
    connections.end_and_wait("one")
    assert "cannot end the connection one: it is gone" in caplog.text
    connections.thread.shutdown()
