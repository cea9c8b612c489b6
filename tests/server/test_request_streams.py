"""Streams of requests: their order, their bounds, and how they end."""

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
    raw,
    refusal,
    step,
    walk,
)
from kit.served import served


def test_requests_without_a_sequence_on_a_stream_are_answered_like_calls(stub):
    sent = [
        request(SIMPLE, {"input": walk(1 + n % 5, seed=n)}, ["logits"], id=str(n), raw=n % 3 > 0) for n in range(60)
    ]
    alone = [stub.ModelInfer(message) for message in sent]
    answers = list(stub.ModelStreamInfer(iter(sent), timeout=PATIENCE))
    for answer in answers:
        del answer.infer_response.parameters["triton_final_response"]
    assert [answer.infer_response for answer in answers] == alone


def test_each_streamed_response_is_marked_as_final(stub):
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
def test_error_ends_the_stream_when_the_client_asks_for_it(stub, before):
    stream = Stream(stub, metadata=(("triton_grpc_error", "true"),))
    for _ in range(before):
        assert not stream.ask(request(SIMPLE, {"input": walk(2)})).error_message
    with pytest.raises(grpc.RpcError) as raised:
        stream.ask(request("nobody", {"input": walk(2)}))
    assert raised.value.code() is grpc.StatusCode.NOT_FOUND
    assert "nobody" in raised.value.details()


def test_pipelined_requests_are_answered_in_order(stub):
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


def test_streams_beyond_the_limit_are_refused(repository):
    with served(repository, max_streams=4) as server:  # half of them for one connection
        stub = server.stub
        open_ = [Stream(stub), Stream(stub)]
        for stream in open_:
            assert not stream.ask(request(SIMPLE, {"input": walk(1)})).error_message
        with pytest.raises(grpc.RpcError) as raised:
            Stream(stub).ask(request(SIMPLE, {"input": walk(1)}))
        assert raised.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        said = "4 streams are already open, or half of them on this connection; close some first"
        assert said in raised.value.details()
        for stream in open_:
            stream.end()
        assert eventually(lambda: Stream(stub).ask(request(SIMPLE, {"input": walk(1)})))


@pytest.mark.parametrize("before", [1, 20])  # steps; after some, an answer is sent with the receipt of the next message
def test_stopping_server_answers_requests_in_flight_and_explains_the_end(repository, before):
    with served(repository) as running:
        stream = Stream(running.stub)
        for number in range(before):
            assert not stream.ask(step(walk(1), 5, starts=not number)).error_message
        running.server.stop(grace=5)
        with pytest.raises(grpc.RpcError) as raised:
            next(stream.call)
        assert raised.value.code() is grpc.StatusCode.UNAVAILABLE
        assert "continue on a new stream" in raised.value.details()
