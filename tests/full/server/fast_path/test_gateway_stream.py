"""Many requests in one message, on the private socket: each has the answer, or refusal, of a call of its own."""

import asyncio
import contextlib
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import pytest

from kit.front_streams import MINE, Front, exchange, socket_of, with_stream
from kit.inference_requests import request
from kit.sequence_requests import walk
from kit.served import served
from kit.waiting import until
from rnnserve.protos import inference_pb2 as pb
from rnnserve.protos.protocol_words import PEER, REQUEST_ID
from rnnserve.server.fast_path.gateway_stream import GatewayRequest
from rnnserve.web.upstream.exchange_stream import NotTaken
from rnnserve.web.upstream.grpc_upstream import GrpcUpstream
from rnnserve.web.upstream.upstream import CallContext

MODEL = "direction_simple"


@pytest.fixture(scope="module")
def front_server(repository, tmp_path_factory):
    with served(repository, private_sockets=tmp_path_factory.mktemp("s")) as running:
        yield running.server


def test_ids_and_headers_go_with_the_request(front_server, monkeypatch):
    """Those with a client's headers, too, are no calls of their own. Only headers that are large are."""
    came, calls = {}, []
    begin = GatewayRequest.__init__

    def noting(self, *args):
        begin(self, *args)
        came[self.request_id] = self.peer(), dict(self.headers)

    monkeypatch.setattr(GatewayRequest, "__init__", noting)
    peer, message = (PEER, "ipv4:10.0.0.1:1111"), request(MODEL, {"input": walk(4)})
    headers = (("authorization", "Bearer x"), ("traceparent", "00-aa-bb-01"))
    large = (("authorization", "x" * 9000),)

    async def use(_):
        upstream = GrpcUpstream.at_socket(socket_of(front_server))
        unary: Any = upstream._infer

        def calling(*args, **more):
            calls.append(more)
            return unary(*args, **more)

        monkeypatch.setattr(upstream, "_infer", calling)
        try:
            for name, with_it in (("plain", ()), ("told", headers), ("large", large)):
                metadata = ((REQUEST_ID, name), *with_it, peer)
                await upstream.infer(message, CallContext(metadata, 30.0, has_headers=bool(with_it)))
        finally:
            await upstream.close()

    with_stream(front_server, use)
    assert came == {"plain": ("http:ipv4:10.0.0.1:1111", {}), "told": ("http:ipv4:10.0.0.1:1111", dict(headers))}
    assert [dict(call["metadata"])[REQUEST_ID] for call in calls] == ["large"]


def test_the_stream_is_refused_elsewhere(front_server):
    with grpc.insecure_channel(f"127.0.0.1:{front_server.port}") as channel:
        call = exchange(channel)(iter([]), metadata=((PEER, "ipv4:1.2.3.4:5"),))
        assert call.code() is grpc.StatusCode.UNIMPLEMENTED


def test_bytes_that_are_no_message_end_the_stream(front_server):
    with grpc.insecure_channel(f"unix:{socket_of(front_server)}", [("grpc.default_authority", "localhost")]) as channel:
        call = exchange(channel)(iter([b"\xff\xff"]))
        assert next(call) == b""  # a stream that is taken is told so, before anything is written to it
        with pytest.raises(grpc.RpcError):
            next(call)
        assert call.code() is grpc.StatusCode.INVALID_ARGUMENT
    until(lambda: not front_server._transport._transport._gateways)


@pytest.fixture
def going(repository, tmp_path):
    """A server, and what stops it, in the background."""
    sockets = {"private_sockets": tmp_path}
    with served(repository, **sockets) as running, ThreadPoolExecutor() as threads:
        yield running.server, lambda: threads.submit(running.server.stop)


def test_a_front_that_does_not_half_close_does_not_keep_its_server(going):
    server, stop = going
    with contextlib.closing(Front(server)) as front:
        front.write(1)
        assert [front.read(), front.read()] == [([], False), ([1], False)]
        stopped = stop()
        assert front.read() == ([], True)
        assert list(front.call) == []
        assert front.call.code() is grpc.StatusCode.OK
        stopped.result(20)  # the grace is longer


def test_a_server_that_stops_answers_what_it_has_taken(repository, tmp_path):
    """What it has not taken can be sent elsewhere: nothing is lost, and nothing is run twice."""

    async def use(stream):
        message = request(MODEL, {"input": walk(4)}).SerializeToString()
        taken = refused = 0
        stopping = None
        while not refused:
            said = await asyncio.gather(*(stream.infer(message, MINE) for _ in range(20)), return_exceptions=True)
            answered = sum(isinstance(each, pb.ModelInferResponse) for each in said)
            others = [each for each in said if not isinstance(each, pb.ModelInferResponse)]
            assert all(isinstance(each, NotTaken) for each in others), others
            taken, refused = taken + answered, refused + len(others)
            stopping = stopping or asyncio.create_task(asyncio.to_thread(running.server.stop))
        await stopping
        return taken

    with served(repository, private_sockets=tmp_path) as running:
        assert with_stream(running.server, use) >= 20
