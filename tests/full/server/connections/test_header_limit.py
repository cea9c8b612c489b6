"""Calls with too many header fields come to no handler."""

import time
from concurrent import futures

import grpc
import pytest

from campaigns.drills.wire.http2 import END_HEADERS, HEADERS, Http2Connection, call_headers, frame, literal
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
