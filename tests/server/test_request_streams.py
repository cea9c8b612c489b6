"""Streams of requests, on both transports: their order, their bounds, and how they end."""

import contextlib
from concurrent import futures

import grpc
import numpy as np
import pytest

from kit.inference_requests import request
from kit.sequence_requests import (
    PATIENCE,
    SIMPLE,
    Stream,
    answers_of,
    eventually,
    in_parts,
    raw,
    refusal,
    step,
    stream_of,
    walk,
)
from kit.served_here import asking
from kit.waiting import until
from rnnserve.protos import inference_pb2_grpc as rpc
from rnnserve.server import Server, Settings
from rnnserve.server.lane import connection_streams, streams


def test_requests_without_a_sequence_on_a_stream_are_answered_like_calls(stub):
    sent = [
        request(SIMPLE, {"input": walk(1 + n % 5, seed=n)}, ["logits"], id=str(n), raw=n % 3 > 0) for n in range(200)
    ]
    alone = [stub.ModelInfer(message) for message in sent]
    answers = list(stub.ModelStreamInfer(iter(sent), timeout=PATIENCE))
    for answer in answers:
        del answer.infer_response.parameters["triton_final_response"]
    assert [answer.infer_response for answer in answers] == alone


def test_on_streams_each_response_is_marked_as_the_last_one_to_its_request(stub):
    """As Triton's are, whether or not the request asks for an empty last response, which it never needs."""
    asking = step(walk(2), 41)
    asking.parameters["triton_enable_empty_final_response"].bool_param = True
    messages = [
        request(SIMPLE, {"input": walk(2)}),
        step(walk(2), 41, starts=True),
        asking,
        step(walk(2), 41),
        request("unknown", {"input": walk(2)}),
        step(walk(2), 41, ends=True),
    ]
    for _ in range(2):  # the second time, they are recognised
        for answer in stub.ModelStreamInfer(iter(messages), timeout=PATIENCE):
            assert answer.infer_response.parameters["triton_final_response"].bool_param
    assert "triton_final_response" not in stub.ModelInfer(messages[0]).parameters


@pytest.mark.parametrize("before", [1, 20])
def test_an_error_ends_the_stream_where_the_client_asks_for_that(stub, before):
    stream = Stream(stub, metadata=(("triton_grpc_error", "true"),))
    for _ in range(before):
        assert not stream.ask(request(SIMPLE, {"input": walk(2)})).error_message
    with pytest.raises(grpc.RpcError) as raised:
        stream.ask(request("nobody", {"input": walk(2)}))
    assert raised.value.code() is grpc.StatusCode.NOT_FOUND
    assert "nobody" in raised.value.details()


def test_what_is_sent_without_waiting_for_answers_is_answered_in_order(stub):
    """All of it arrives together: refused requests change nothing, not a start either."""
    inputs, wrong = walk(1), np.full((1, 1, 2), np.nan, np.float32)
    good = step(inputs, 81)
    sent = [
        *[step(inputs, 81, starts=True), good, step(wrong, 81), good, step(wrong, 81, ends=True), good],
        *[step(inputs, 81, ends=True), good, good, step(inputs, 81, starts=True), good],
        *[step(wrong, 81, starts=True), good, step(inputs, 81, starts=True, ends=True), good],
    ]
    answers = answers_of(stub, iter(sent))
    assert len(answers) == len(sent)
    found = "".join("x" if answer.error_message else "." for answer in answers)
    assert found == "..x.x." + ".xx.." + "x..x"
    one_by_one = [raw(stub.ModelInfer(step(inputs, 82, starts=not n)))[0] for n in range(5)]
    assert [raw(answers[at].infer_response)[0] for at in (0, 1, 3, 5, 6)] == one_by_one
    assert [raw(answers[at].infer_response)[0] for at in (9, 10, 12, 13)] == [*one_by_one[:3], one_by_one[0]]
    assert {refusal(answers[at]) for at in (7, 8, 14)} == {"NOT_FOUND"}


def test_a_client_may_wait_for_each_answer_and_not_wait_and_wait_again(stub):
    inputs = [walk(1, seed=seed) for seed in range(8)]
    expected = [raw(stub.ModelInfer(request(SIMPLE, {"input": each}, ["logits"]))) for each in inputs]
    with stream_of(stub) as stream:
        for number in range(200):
            at = number % 8
            many = 1 if number % 50 < 45 else 20
            for _ in range(many):
                stream.send(request(SIMPLE, {"input": inputs[at]}, ["logits"], id=str(number)))
            for _ in range(many):
                answer = next(stream.call).infer_response
                assert (answer.id, raw(answer)) == (str(number), expected[at])


def test_where_the_client_waits_for_each_answer_a_step_is_one_event(repository, monkeypatch):
    """And an answer that is large, or that a failure takes the place of, is sent as before."""
    started: list[int] = []
    start = streams.LaneStream._start

    def count(self, operations, tag):
        started.append(len(operations))
        start(self, operations, tag)

    monkeypatch.setattr(streams.LaneStream, "_start", count)
    small = request(SIMPLE, {"input": walk(1)}, ["logits"])
    with asking(repository, transport="lane") as stub, stream_of(stub) as stream:
        for _ in range(100):
            assert not stream.ask(small).error_message
        until(lambda: started[-1] == 2)
        assert 100 < len(started) < 125
        assert started.count(2) > 85
        del started[:]
        for _ in range(20):
            assert not stream.ask(request(SIMPLE, {"input": walk(600)}, ["output"])).error_message
            assert refusal(stream.ask(request("nobody", {"input": walk(2)}))) == "NOT_FOUND"
        assert stream.end() == []


def test_streams_whose_clients_wait_for_each_answer_are_not_in_hand(repository, monkeypatch):
    monkeypatch.setattr(connection_streams, "_IN_HAND_OF_CONNECTION", 3)
    small = request(SIMPLE, {"input": walk(1)}, ["logits"])
    with asking(repository, transport="lane") as stub, contextlib.ExitStack() as stack:
        idle = [stack.enter_context(stream_of(stub)) for _ in range(8)]
        for stream in idle:
            for _ in range(10):
                assert not stream.ask(small).error_message
        for stream in idle:
            assert not stream.ask(small).error_message


def test_a_compressed_or_large_step_keeps_its_place(stub):
    """They are parsed on other threads than small ones."""
    inputs = walk(600)
    whole = raw(stub.ModelInfer(request(SIMPLE, {"input": inputs}, ["logits", "h_n"])))
    wide = walk(600, rows=64)
    wide_whole = raw(stub.ModelInfer(request(SIMPLE, {"input": wide}, ["logits", "h_n"])))
    for compression in (grpc.Compression.NoCompression, grpc.Compression.Gzip):
        answers = list(
            stub.ModelStreamInfer(in_parts(inputs, [1, 500, 1, 97, 1], 91), timeout=PATIENCE, compression=compression)
        )
        assert raw(answers[-1].infer_response) == whole
        answers = list(
            stub.ModelStreamInfer(in_parts(wide, [1, 500, 1, 97, 1], 92), timeout=PATIENCE, compression=compression)
        )
        assert raw(answers[-1].infer_response) == wide_whole


def test_more_streams_than_may_be_open_are_refused(repository):
    with asking(repository, transport="lane", max_streams=4) as stub:  # half of them for one connection
        open_ = [Stream(stub), Stream(stub)]
        for stream in open_:
            assert not stream.ask(request(SIMPLE, {"input": walk(1)})).error_message
        with pytest.raises(grpc.RpcError) as raised:
            Stream(stub).ask(request(SIMPLE, {"input": walk(1)}))
        assert raised.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        said = "4 streams are open already (--max-streams), or half of them of this connection"
        assert said in raised.value.details()
        for stream in open_:
            stream.end()
        assert eventually(lambda: Stream(stub).ask(request(SIMPLE, {"input": walk(1)})))


@pytest.mark.parametrize("before", [1, 20])  # steps; after some, an answer is sent with the receipt of the next message
def test_a_server_that_stops_answers_what_is_in_hand_and_says_why_the_stream_ends(repository, before):
    with Server(Settings(repository, grpc_port=0, provider="cpu", transport="lane")) as server:
        channel = grpc.insecure_channel(f"127.0.0.1:{server.port}")
        stream = Stream(rpc.GRPCInferenceServiceStub(channel))
        for number in range(before):
            assert not stream.ask(step(walk(1), 5, starts=not number)).error_message
        server.stop(grace=5)
        with pytest.raises(grpc.RpcError) as raised:
            next(stream.call)
        assert raised.value.code() is grpc.StatusCode.UNAVAILABLE
        assert "go on with a new stream" in raised.value.details()
        channel.close()


def test_more_requests_than_may_be_in_hand_wait_at_their_client(repository):
    """256 of a stream, 1,024 of a connection: the client sends them later, and all are answered."""
    message = request(SIMPLE, {"input": walk(1)}, ["logits"])
    with asking(repository, transport="lane") as stub, futures.ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: answers_of(stub, iter([message] * 600)), range(8)))
    assert [len(of_stream) for of_stream in answers] == [600] * 8
    assert not any(answer.error_message for of_stream in answers for answer in of_stream)


def test_streams_that_end_with_an_error_leave_room_for_others(repository, monkeypatch):
    monkeypatch.setattr(connection_streams, "_IN_HAND_OF_CONNECTION", 3)
    with asking(repository, transport="lane") as stub, stream_of(stub) as stays:
        assert not stays.ask(request(SIMPLE, {"input": walk(1)})).error_message
        for _ in range(5):
            with pytest.raises(grpc.RpcError):
                Stream(stub, metadata=(("triton_grpc_error", "true"),)).ask(request("nobody", {"input": walk(1)}))
        for _ in range(5):
            assert not stays.ask(request(SIMPLE, {"input": walk(1)})).error_message
