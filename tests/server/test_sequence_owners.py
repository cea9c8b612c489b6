"""Whose sequences are whose: no connection reaches another's, but with a key, which leads to one from any."""

import contextlib

import grpc
import pytest

from kit.inference_requests import request
from kit.sequence_requests import SIMPLE, Calls, Stream, raw, refusal, step, walk
from kit.served import served
from rnnserve.protos import inference_pb2_grpc as rpc

OWN = [("grpc.use_local_subchannel_pool", 1)]


@pytest.fixture
def clients(server):
    """Two stubs, each with a connection of its own, and what makes more."""
    with contextlib.ExitStack() as stack:
        target = f"127.0.0.1:{server.port}"
        yield lambda: rpc.GRPCInferenceServiceStub(stack.enter_context(grpc.insecure_channel(target, OWN)))


@pytest.mark.parametrize(("mine", "theirs"), [(Calls, Stream), (Stream, Calls)])
def test_a_stranger_who_guesses_an_id_reaches_nothing(clients, mine, theirs):
    """It neither continues, reads, ends, replaces nor holds up the sequence, nor learns that there is one."""
    inputs = walk(6)
    whole = raw(clients().ModelInfer(request(SIMPLE, {"input": inputs}, ["logits", "h_n"])))
    owner, stranger = mine(clients()), theirs(clients())
    for _ in range(2):  # parsed, and recognised
        assert not owner.ask(step(inputs[:, :1], 1000, starts=True)).error_message
        for message in (
            step(inputs[:, :1], 1000),
            step(walk(300, rows=64), 1000),
            step(inputs[:, :1], 1000, ends=True),
        ):
            told, never_begun = stranger.ask(message), step(inputs[:, :1], 999)
            assert refusal(told) == "NOT_FOUND"
            assert told.error_message.replace("1000", "999") == stranger.ask(never_begun).error_message
        assert not owner.ask(step(inputs[:, 1:3], 1000)).error_message
        assert not stranger.ask(step(walk(3, seed=5), 1000, starts=True)).error_message
        assert not owner.ask(step(inputs[:, 3:4], 1000)).error_message
        assert not stranger.ask(step(walk(3, seed=5), 1000, ends=True)).error_message
        assert raw(owner.ask(step(inputs[:, 4:], 1000, ends=True)).infer_response) == whole
    assert owner.end() == stranger.end() == []


def with_key(message, key):
    message.parameters["sequence_key"].string_param = key
    return message


@pytest.mark.parametrize("on", [Calls, Stream])
def test_a_key_continues_a_sequence_on_any_connection(clients, on):
    inputs = walk(4)
    whole = raw(clients().ModelInfer(request(SIMPLE, {"input": inputs}, ["logits", "h_n"])))
    first, second, key = Calls(clients()), on(clients()), "0123456789abcdef"
    assert not first.ask(with_key(step(inputs[:, :2], 1000, starts=True), key)).error_message
    assert refusal(first.ask(step(inputs[:, 2:], 1000))) == "NOT_FOUND"
    assert refusal(second.ask(with_key(step(inputs[:, 2:], 1000), "another" + key))) == "NOT_FOUND"
    assert raw(second.ask(with_key(step(inputs[:, 2:], 1000, ends=True), key)).infer_response) == whole
    assert second.end() == []


@pytest.mark.parametrize("key", ["", "x" * 15, "x" * 129])
def test_a_key_that_is_too_short_or_too_long_is_refused(stub, key):
    with pytest.raises(grpc.RpcError, match=r"parameter sequence_key has \d+ characters; it is text .* of 16 to 128"):
        stub.ModelInfer(with_key(step(walk(1), 5, starts=True), key))
    number = step(walk(1), 5, starts=True)
    number.parameters["sequence_key"].int64_param = 1234567890123456
    with pytest.raises(grpc.RpcError, match="parameter sequence_key has 0 characters; it is text"):
        stub.ModelInfer(number)


def test_with_shared_sequences_any_connection_continues_any(repository):
    with served(repository, share_sequences=True) as server, server.channel() as channel:
        one, other = server.stub, rpc.GRPCInferenceServiceStub(channel)
        one.ModelInfer(step(walk(1), 1000, starts=True))
        other.ModelInfer(step(walk(1), 1000, ends=True))
        with pytest.raises(grpc.RpcError, match="is not known"):
            one.ModelInfer(step(walk(1), 1000))
