"""How a server that stops parts from its front: nothing is lost, and nothing is run twice."""

import asyncio
import contextlib
import queue
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import pytest

from kit.front_streams import MINE, exchange, fake_server, serving, socket_of, with_stream
from kit.inference_requests import request
from kit.sequence_requests import walk
from kit.waiting import PATIENCE
from rnnserve.protos import front_pb2
from rnnserve.protos import inference_pb2 as pb
from rnnserve.web.upstream.exchange_stream import ExchangeStream, NotTaken
from rnnserve.web.upstream.grpc_upstream import GrpcUpstream

MODEL = "direction_simple"


class Front:
    """A front that writes when it is told to, a request in each message, and reads message by message."""

    def __init__(self, server):
        self._channel = grpc.insecure_channel(f"unix:{socket_of(server)}", [("grpc.default_authority", "localhost")])
        self._unsent: Any = queue.SimpleQueue()
        self.call = exchange(self._channel)(iter(self._unsent.get, None))
        self._request = request(MODEL, {"input": walk(4)}).SerializeToString()

    def write(self, number):
        message = front_pb2.FrontRequests()
        message.entries.add(number=number, request=self._request, peer="ipv4:1.2.3.4:5", timeout=30.0)
        self._unsent.put(message.SerializeToString())

    def half_close(self):
        self._unsent.put(None)

    def read(self):
        """The numbers that the next message answers, and whether it says that the server goes."""
        message = front_pb2.FrontAnswers.FromString(next(self.call))
        return [entry.number for entry in message.entries], message.is_ending

    def close(self):
        self.half_close()
        self._channel.close()


@pytest.fixture
def going(repository, tmp_path):
    """A server, and what stops it, in the background."""
    with serving(repository, tmp_path, transport="lane") as server, ThreadPoolExecutor() as threads:
        yield server, lambda: threads.submit(server.stop)


def test_a_front_is_told_that_its_server_goes_and_has_answers_until_it_half_closes(going):
    """The end raced with what fronts wrote: they were told that the stream broke, 503, in the place of its status."""
    server, stop = going
    with contextlib.closing(Front(server)) as front:
        front.write(1)
        assert [front.read(), front.read()] == [([], False), ([1], False)]
        stopped = stop()
        assert front.read() == ([], True)
        front.write(2)
        assert front.read() == ([2], False)
        front.half_close()
        assert list(front.call) == []
        assert front.call.code() is grpc.StatusCode.OK
        stopped.result(20)


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


def test_a_front_that_comes_while_its_server_goes_is_told_so(going):
    server, _ = going
    server._transport._transport._new.end_fronts()
    with contextlib.closing(Front(server)) as front:
        assert [front.read(), front.read()] == [([], False), ([], True)]


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
            stopping = stopping or asyncio.create_task(asyncio.to_thread(stopping_server.stop))
        await stopping
        return taken

    stopping_server = serving(repository, tmp_path, transport="lane")
    stopping_server.start()
    assert with_stream(stopping_server, use) >= 20


def test_what_is_sent_to_a_server_that_has_stopped_goes_elsewhere(tmp_path):
    """gRPC's core refuses a stream that comes then with CANCELLED: it was never taken."""

    async def handle(messages, context):
        await context.abort(grpc.StatusCode.CANCELLED)

    async def go():
        fake = fake_server(tmp_path, handle)
        await fake.start()
        upstream = GrpcUpstream.at_socket(f"{tmp_path}/1.sock")
        try:
            with pytest.raises(NotTaken):
                await ExchangeStream(upstream._channel).infer(b"", MINE)
        finally:
            await upstream.close()
            await fake.stop(0)

    asyncio.run(go())


def test_what_is_written_to_a_server_that_goes_is_answered_and_the_rest_goes_elsewhere(tmp_path):
    entries, may_answer = [], asyncio.Event()

    async def handle(messages, context):
        await context.write(b"")
        async for payload in messages:
            entries.extend(front_pb2.FrontRequests.FromString(payload).entries)
            await context.write(front_pb2.FrontAnswers(is_ending=True).SerializeToString())
        await may_answer.wait()
        answers = front_pb2.FrontAnswers()
        for entry in entries:
            answers.entries.add(number=entry.number, response=pb.ModelInferResponse(id="x").SerializeToString())
        await context.write(answers.SerializeToString())

    async def go():
        fake = fake_server(tmp_path, handle)
        await fake.start()
        upstream = GrpcUpstream.at_socket(f"{tmp_path}/1.sock")
        stream = ExchangeStream(upstream._channel)
        try:
            written = asyncio.create_task(stream.infer(b"", MINE))
            async with asyncio.timeout(PATIENCE):
                while not stream._is_ending:
                    await asyncio.sleep(1e-3)
            held = asyncio.gather(*(stream.infer(b"", MINE) for _ in range(3)), return_exceptions=True)
            assert {type(each) for each in await held} == {NotTaken}
            running = stream._running
            may_answer.set()
            assert (await written).id == "x"
            assert len(entries) == 1
            await asyncio.wait([running])
            again = await stream.infer(b"", MINE)  # on a new stream
            assert again.id == "x"
        finally:
            await upstream.close()
            await fake.stop(0)

    asyncio.run(go())
