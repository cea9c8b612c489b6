"""How a server that stops parts from its front: nothing is lost, and nothing is run twice."""

import asyncio
import contextlib
from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest

from kit.front_streams import MINE, Front, with_stream
from kit.inference_requests import request
from kit.sequence_requests import walk
from kit.served import served
from rnnserve.protos import inference_pb2 as pb
from rnnserve.web.upstream.exchange_stream import NotTaken

MODEL = "direction_simple"


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
