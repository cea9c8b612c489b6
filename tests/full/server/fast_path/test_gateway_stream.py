"""Many requests in one message, on the private socket: each has the answer, or refusal, of a call of its own."""

import asyncio

import grpc
import pytest

from kit.front_streams import MINE, exchange, socket_of, with_stream
from kit.inference_requests import request
from kit.sequence_requests import walk
from kit.served import served
from kit.waiting import until
from rnnserve.protos import inference_pb2 as pb
from rnnserve.web.upstream.exchange_stream import NotTaken

MODEL = "direction_simple"


@pytest.fixture(scope="module")
def front_server(repository, tmp_path_factory):
    with served(repository, private_sockets=tmp_path_factory.mktemp("s")) as running:
        yield running.server


def test_invalid_message_ends_the_gateway_stream(front_server):
    with grpc.insecure_channel(f"unix:{socket_of(front_server)}", [("grpc.default_authority", "localhost")]) as channel:
        call = exchange(channel)(iter([b"\xff\xff"]))
        assert next(call) == b""  # a stream that is taken is told so, before anything is written to it
        with pytest.raises(grpc.RpcError):
            next(call)
        assert call.code() is grpc.StatusCode.INVALID_ARGUMENT
    until(lambda: not front_server._transport._transport._gateways)


def test_stopping_server_answers_the_requests_it_has_received(repository, tmp_path):
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
