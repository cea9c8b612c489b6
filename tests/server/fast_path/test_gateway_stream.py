"""Many requests in one message on the private socket: each gets the answer, or refusal, of a call of its own."""

import asyncio
import contextlib
import random
from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest

from kit.front_streams import MINE, Front, exchange, socket_of, with_stream
from kit.inference_requests import request
from kit.sequence_requests import step, walk
from kit.served import served
from kit.waiting import until
from rnnserve.protos import front_pb2
from rnnserve.protos import inference_pb2_grpc as rpc
from rnnserve.protos.protocol_words import PEER
from rnnserve.web.errors import RestError, error_of_status
from rnnserve.web.upstream.upstream import CallContext

MODELS = ("direction_simple", "direction_stacked", "direction_bidirectional")
OTHER = CallContext(((PEER, "ipv4:10.0.0.1:2222"),), 30.0)


@pytest.fixture(scope="module")
def front_server(repository, tmp_path_factory):
    with served(repository, private_sockets=tmp_path_factory.mktemp("s")) as running:
        yield running.server


@pytest.fixture(scope="module")
def stub(front_server):
    with grpc.insecure_channel(f"127.0.0.1:{front_server.port}", [("grpc.max_receive_message_length", -1)]) as channel:
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


def test_gateway_request_has_the_answer_of_a_direct_call(front_server, stub):
    """The requests differ in model, length and outputs. Some are invalid, and a few are large."""
    draw = random.Random(7)
    messages = []
    for number in range(150):
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
    assert with_stream(front_server, use) == expected
    assert {type(each) for each in expected} == {bytes, tuple}
    until(lambda: front_server._transport._budget.held == 0)


def test_sequence_belongs_to_the_gateways_client(front_server):
    async def use(stream):
        said = [
            await outcome(stream, step(walk(2), 7, starts=True)),
            await outcome(stream, step(walk(1), 7)),
            await outcome(stream, step(walk(1), 7), OTHER),
            await outcome(stream, step(walk(1), 7, ends=True)),
        ]
        return [type(each) for each in said]

    assert with_stream(front_server, use) == [bytes, bytes, tuple, bytes]


def test_half_closed_stream_gets_all_its_answers(front_server):
    message = front_pb2.FrontRequests()
    for number in range(30):
        payload = request(MODELS[0], {"input": walk(4)}).SerializeToString()
        message.entries.add(number=number, request=payload, peer="ipv4:1.2.3.4:5", timeout=30.0)
    with grpc.insecure_channel(f"unix:{socket_of(front_server)}", [("grpc.default_authority", "localhost")]) as channel:
        call = exchange(channel)(iter([message.SerializeToString()]))
        answers = [front_pb2.FrontAnswers.FromString(each) for each in call]
        assert call.code() is grpc.StatusCode.OK
    assert sorted(entry.number for answer in answers for entry in answer.entries) == list(range(30))
    assert len(answers) < 30
    until(lambda: not front_server._transport._transport._gateways)


def test_large_answers_come_in_messages_of_bounded_size(front_server):
    """Even if all of them are ready before the gateway reads the first."""
    message = front_pb2.FrontRequests()
    payload = request(MODELS[0], {"input": walk(4000)}).SerializeToString()
    for number in range(30):
        message.entries.add(number=number, request=payload, peer=f"ipv4:1.2.3.4:{number}", timeout=30.0)
    options = [("grpc.default_authority", "localhost"), ("grpc.max_receive_message_length", -1)]
    with grpc.insecure_channel(f"unix:{socket_of(front_server)}", options) as channel:
        call = exchange(channel)(iter([message.SerializeToString()]))
        assert next(call) == b""
        (stream,) = front_server._transport._transport._gateways
        until(lambda: stream.in_flight and not any(map(stream.has, range(30))))
        sizes = [len(each) for each in call]
    assert sum(sizes) > 6 << 20
    assert max(sizes) < 2 << 20


@pytest.fixture
def going(repository, tmp_path):
    """A server, and what stops it, in the background."""
    with served(repository, private_sockets=tmp_path) as running, ThreadPoolExecutor() as threads:
        yield running.server, lambda: threads.submit(running.server.stop)


def test_gateway_learns_of_the_stop_and_gets_answers_until_it_half_closes(going):
    """Regression: gateways once got 503 because the end of the stream raced with their writes."""
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
