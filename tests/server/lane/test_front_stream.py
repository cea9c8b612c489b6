"""Many requests in one message, on the private socket: each has the answer, or refusal, of a call of its own."""

import asyncio
import random
from typing import Any

import grpc
import numpy as np
import pytest

from kit.front_streams import MINE, exchange, fake_server, serving, socket_of, with_stream
from kit.inference_requests import request
from kit.sequence_requests import step, walk
from kit.waiting import until
from rnnserve.protos import front_pb2
from rnnserve.protos import inference_pb2_grpc as rpc
from rnnserve.protos.protocol_words import PEER, REQUEST_ID
from rnnserve.server.lane.front_stream import FrontRequest
from rnnserve.web.errors import RestError
from rnnserve.web.upstream.exchange_stream import ExchangeStream, NotTaken
from rnnserve.web.upstream.grpc_upstream import GrpcUpstream
from rnnserve.web.upstream.statuses import error_of_status
from rnnserve.web.upstream.upstream import CallContext

MODELS = ("direction_simple", "direction_stacked", "direction_bidirectional")
OTHER = CallContext(((PEER, "ipv4:10.0.0.1:2222"),), 30.0)


@pytest.fixture(scope="module")
def server(repository, tmp_path_factory):
    with serving(repository, tmp_path_factory.mktemp("s"), transport="lane") as server:
        yield server


@pytest.fixture(scope="module")
def stub(server):
    with grpc.insecure_channel(f"127.0.0.1:{server.port}", [("grpc.max_receive_message_length", -1)]) as channel:
        yield rpc.GRPCInferenceServiceStub(channel)


def outcome_of_call(stub, message):
    try:
        return stub.ModelInfer(message).SerializeToString(deterministic=True)
    except grpc.RpcError as error:
        told = error_of_status(error.code(), error.details())
        return told.status, str(told)


async def outcome(stream, message, context=MINE):
    try:
        return (await stream.infer(message.SerializeToString(), context)).SerializeToString(deterministic=True)
    except RestError as error:
        return error.status, str(error)


def test_every_request_has_the_answer_of_a_call_of_its_own(server, stub):
    """Of several models, lengths and outputs; wrong ones among them, and a few that are large."""
    draw = random.Random(7)
    messages = []
    for number in range(400):
        steps = draw.choice([1, 4, 4, 4, 9, 600])
        message = request(draw.choice(MODELS), {"input": walk(steps, seed=number)}, draw.choice([("logits",), ()]))
        message.id = f"n{number}"
        if number % 10 == 3:
            message.inputs[0].shape[2] = 5
        if number % 10 == 7:
            message.model_name = "nope"
        messages.append(message)

    async def use(stream):
        return await asyncio.gather(*(outcome(stream, message) for message in messages))

    expected = [outcome_of_call(stub, message) for message in messages]
    assert with_stream(server, use) == expected
    assert {type(each) for each in expected} == {bytes, tuple}
    until(lambda: server._transport._budget.held == 0)


def test_sequences_are_those_of_the_fronts_client(server):
    async def use(stream):
        said = [
            await outcome(stream, step(walk(2), 7, starts=True)),
            await outcome(stream, step(walk(1), 7)),
            await outcome(stream, step(walk(1), 7), OTHER),
            await outcome(stream, step(walk(1), 7, ends=True)),
        ]
        return [type(each) for each in said]

    assert with_stream(server, use) == [bytes, bytes, tuple, bytes]


def test_ids_and_headers_go_with_the_request(server, monkeypatch):
    """Those with a client's headers, too, are no calls of their own; only headers that are large are."""
    came, calls = {}, []
    begin = FrontRequest.__init__

    def noting(self, *args):
        begin(self, *args)
        came[self.request_id] = self.peer(), dict(self.headers)

    monkeypatch.setattr(FrontRequest, "__init__", noting)
    peer, message = (PEER, "ipv4:10.0.0.1:1111"), request(MODELS[0], {"input": walk(4)})
    headers = (("authorization", "Bearer x"), ("traceparent", "00-aa-bb-01"))
    large = (("authorization", "x" * 9000),)

    async def use(_):
        upstream = GrpcUpstream.at_socket(socket_of(server))
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

    with_stream(server, use)
    assert came == {"plain": ("http:ipv4:10.0.0.1:1111", {}), "told": ("http:ipv4:10.0.0.1:1111", dict(headers))}
    assert [dict(call["metadata"])[REQUEST_ID] for call in calls] == ["large"]


def test_a_request_that_is_late_is_told_so(server):
    async def use(stream):
        return await outcome(stream, request(MODELS[0], {"input": walk(4)}), CallContext(MINE.metadata, 0.0))

    status, _ = with_stream(server, use)
    assert status == 504


def test_a_cancelled_request_costs_no_other(server):
    async def use(stream):
        tasks = [asyncio.create_task(outcome(stream, request(MODELS[0], {"input": walk(400, 60)}))) for _ in range(20)]
        await asyncio.sleep(0)
        for task in tasks[::2]:
            task.cancel()
        said = await asyncio.gather(*tasks, return_exceptions=True)
        assert all(isinstance(each, asyncio.CancelledError) for each in said[::2])
        assert not stream._waiting
        return said[1::2]

    assert {type(each) for each in with_stream(server, use)} == {bytes}
    until(lambda: server._transport._budget.held == 0)


def test_the_stream_is_refused_elsewhere(server):
    with grpc.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        call = exchange(channel)(iter([]), metadata=((PEER, "ipv4:1.2.3.4:5"),))
        assert call.code() is grpc.StatusCode.UNIMPLEMENTED


def test_bytes_that_are_no_message_end_the_stream(server):
    with grpc.insecure_channel(f"unix:{socket_of(server)}", [("grpc.default_authority", "localhost")]) as channel:
        call = exchange(channel)(iter([b"\xff\xff"]))
        assert next(call) == b""  # a stream that is taken is told so, before anything is written to it
        with pytest.raises(grpc.RpcError):
            next(call)
        assert call.code() is grpc.StatusCode.INVALID_ARGUMENT
    until(lambda: not server._transport._transport._new.fronts)


def test_a_client_that_half_closes_has_its_answers(server):
    message = front_pb2.FrontRequests()
    for number in range(30):
        payload = request(MODELS[0], {"input": walk(4)}).SerializeToString()
        message.entries.add(number=number, request=payload, peer="ipv4:1.2.3.4:5", timeout=30.0)
    with grpc.insecure_channel(f"unix:{socket_of(server)}", [("grpc.default_authority", "localhost")]) as channel:
        call = exchange(channel)(iter([message.SerializeToString()]))
        answers = [front_pb2.FrontAnswers.FromString(each) for each in call]
        assert call.code() is grpc.StatusCode.OK
    assert sorted(entry.number for answer in answers for entry in answer.entries) == list(range(30))
    assert len(answers) < 30
    until(lambda: not server._transport._transport._new.fronts)


def test_a_server_on_the_public_transport_is_asked_by_calls(repository, tmp_path):
    async def go():
        upstream = GrpcUpstream.at_socket(socket_of(public))
        try:
            said = [await upstream.infer(request(MODELS[0], {"input": walk(4)}), MINE) for _ in range(2)]
            assert upstream._exchange is None
            return said
        finally:
            await upstream.close()

    with serving(repository, tmp_path, transport="public") as public:
        first, second = asyncio.run(go())
    assert first == second
    assert np.frombuffer(first.raw_output_contents[0], "<f4").size


@pytest.mark.parametrize(
    ("code", "kind"),
    [(grpc.StatusCode.OK, NotTaken), (grpc.StatusCode.UNAVAILABLE, RestError), (grpc.StatusCode.INTERNAL, RestError)],
)
def test_what_a_stream_that_ends_tells(code, kind, tmp_path):
    """After a break nothing is sent to another server: what ended this one would end that, too."""

    async def handle(messages, context):
        await context.write(b"")
        await anext(aiter(messages))
        if code is not grpc.StatusCode.OK:
            await context.abort(code, "Socket closed")

    async def go():
        fake = fake_server(tmp_path, handle)
        await fake.start()
        upstream = GrpcUpstream.at_socket(f"{tmp_path}/1.sock")
        stream = ExchangeStream(upstream._channel)
        try:
            with pytest.raises(kind):
                await stream.infer(b"", MINE)
        finally:
            await upstream.close()
            await fake.stop(0)

    asyncio.run(go())


def test_where_none_listens_nothing_is_taken(tmp_path):
    async def go():
        upstream = GrpcUpstream.at_socket(f"{tmp_path}/none.sock")
        try:
            with pytest.raises(NotTaken) as refused:
                await upstream._exchange.infer(b"", MINE)
            assert not refused.value.is_unknown
        finally:
            await upstream.close()

    asyncio.run(go())
