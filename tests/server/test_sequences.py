"""Sequences whose states the server keeps, on streams and by calls of their own, on both transports."""

import random
import time
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
    in_parts,
    raw,
    refusal,
    step,
    stream_of,
    walk,
)
from kit.served_here import asking
from rnnserve.protos import inference_pb2 as pb
from rnnserve.protos import inference_pb2_grpc as rpc
from rnnserve.server import Server, Settings

STACKED, BIDIRECTIONAL = "direction_stacked", "direction_bidirectional"


def once_the_stream_has_ended(stub, message) -> pb.ModelInferResponse:
    """Ask by a call, when the server has seen that the stream of its sequence has ended."""
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            return stub.ModelInfer(message)
        except grpc.RpcError as error:
            if error.code() is not grpc.StatusCode.ABORTED or time.monotonic() > deadline:
                raise
        time.sleep(0.02)


CUTS = [[12], [1] * 12, [5, 7], [1, 11], [11, 1], [2, 3, 1, 6]]


@pytest.mark.parametrize("identity", [7, "walk seven"])
@pytest.mark.parametrize("name", [SIMPLE, STACKED])
def test_however_a_sequence_is_cut_the_answers_are_the_same_bits(stub, name, identity):
    inputs = walk(12)
    whole = raw(stub.ModelInfer(request(name, {"input": inputs}, ["logits", "h_n"])))
    outputs = raw(stub.ModelInfer(request(name, {"input": inputs}, ["output"])))[0]
    for parts in CUTS:
        answers = list(stub.ModelStreamInfer(in_parts(inputs, parts, identity, name=name), timeout=PATIENCE))
        assert [answer.error_message for answer in answers] == [""] * len(parts)
        assert [answer.infer_response.id for answer in answers] == [f"part {n}" for n in range(len(parts))]
        assert raw(answers[-1].infer_response) == whole
        by_calls = [stub.ModelInfer(part) for part in in_parts(inputs, parts, identity, name=name)]
        assert raw(by_calls[-1]) == whole
        pieces = stub.ModelStreamInfer(in_parts(inputs, parts, identity, name=name, outputs=["output"]))
        assert b"".join(raw(piece.infer_response)[0] for piece in pieces) == outputs


def test_steps_of_many_sequences_share_runs_and_are_answered_as_alone(repository):
    """On one stream and on many, with parts of other lengths, rows and outputs beside each other."""
    chance = random.Random(4)
    walks = {identity: walk(9, rows=1 + identity % 2, seed=identity) for identity in range(1, 25)}
    with asking(repository, transport="lane") as lane, asking(repository, transport="public") as public:
        expected = {
            identity: raw(public.ModelInfer(request(SIMPLE, {"input": walked}, ["logits", "h_n"])))
            for identity, walked in walks.items()
        }
        mixed = []
        waiting = {identity: list(in_parts(walked, [1, 3, 1, 4], identity)) for identity, walked in walks.items()}
        while waiting:
            identity = chance.choice(list(waiting))
            mixed.append((identity, waiting[identity].pop(0)))
            if not waiting[identity]:
                del waiting[identity]
        last: dict[int, list[bytes]] = {}
        answers = lane.ModelStreamInfer(iter([message for _, message in mixed]), timeout=PATIENCE)
        for (identity, _), answer in zip(mixed, answers, strict=True):
            assert not answer.error_message
            last[identity] = raw(answer.infer_response)
        assert last == expected
        with futures.ThreadPoolExecutor(24) as pool:
            streams = {
                identity: pool.submit(answers_of, lane, in_parts(walked, [1] * 9, 1000 + identity))
                for identity, walked in walks.items()
            }
        assert {identity: raw(done.result()[-1].infer_response) for identity, done in streams.items()} == expected


def test_a_sequence_begins_with_states_that_its_first_request_brings(stub):
    inputs = walk(6)
    first, after = inputs[:, :2], inputs[:, 2:]
    state = np.frombuffer(raw(stub.ModelInfer(request(SIMPLE, {"input": first}, ["h_n"])))[0], np.float32)
    whole = raw(stub.ModelInfer(request(SIMPLE, {"input": inputs}, ["logits", "h_n"])))
    state = state.reshape(1, 1, -1)
    answer = stub.ModelInfer(step({"input": after, "h_0": state}, 31, starts=True, ends=True))
    assert raw(answer) == whole


ODD = {
    "never started": ([step(walk(1), 51)], "NOT_FOUND", "has to say sequence_start"),
    "after its end": ([step(walk(1), 52, starts=True, ends=True), step(walk(1), 52)], "NOT_FOUND", "is not known"),
    "other rows": ([step(walk(1), 53, starts=True), step(walk(1, 2), 53)], "INVALID_ARGUMENT", "has 1 rows"),
    "states in the middle": (
        [step(walk(1), 54, starts=True), step({"input": walk(1), "h_0": np.zeros((1, 1, 16), np.float32)}, 54)],
        "INVALID_ARGUMENT",
        "has its states from the request before",
    ),
    "bidirectional": ([step(walk(1), 55, name=BIDIRECTIONAL, starts=True)], "UNIMPLEMENTED", "bidirectional layer"),
    "another version": (
        [step(walk(1), 56, starts=True), step(walk(1), 56, version="7")],
        "NOT_FOUND",
        'has no version "7"',
    ),
    "not finite": (
        [step(walk(1), 57, starts=True), step(np.full((1, 1, 2), np.nan, np.float32), 57)],
        "INVALID_ARGUMENT",
        "is nan",
    ),
}  # fmt: skip


@pytest.mark.parametrize("odd", ODD)
def test_what_is_wrong_is_told_and_costs_only_that_request(stub, odd):
    messages, status, words = ODD[odd]
    stream = Stream(stub)
    *before, told = [stream.ask(message) for message in messages]
    assert [answer.error_message for answer in before] == [""] * len(before)
    assert refusal(told) == status
    assert words in told.error_message
    assert not stream.ask(request(SIMPLE, {"input": walk(3)})).error_message
    stream.end()
    *before, wrong = messages
    for message in before:
        once_the_stream_has_ended(stub, message)
    with pytest.raises(grpc.RpcError) as raised:
        stub.ModelInfer(wrong)
    assert raised.value.code().name == status
    assert words in raised.value.details()


def test_a_refused_step_leaves_the_sequence_as_it_was(stub):
    inputs = walk(4)
    whole = raw(stub.ModelInfer(request(SIMPLE, {"input": inputs}, ["logits", "h_n"])))
    stream = Stream(stub)
    assert not stream.ask(step(inputs[:, :2], 61, starts=True)).error_message
    assert refusal(stream.ask(step(np.full((1, 1, 2), np.inf, np.float32), 61))) == "INVALID_ARGUMENT"
    assert refusal(stream.ask(step(walk(1, rows=3), 61))) == "INVALID_ARGUMENT"
    assert raw(stream.ask(step(inputs[:, 2:], 61, ends=True)).infer_response) == whole
    assert not stream.end()


def test_a_start_in_the_middle_begins_anew(stub):
    inputs = walk(3)
    stream = Stream(stub)
    first = stream.ask(step(inputs, 62, starts=True))
    stream.ask(step(walk(2, seed=9), 62))
    again = stream.ask(step(inputs, 62, starts=True))
    assert raw(again.infer_response) == raw(first.infer_response)
    stream.ask(step(inputs, 62, ends=True))
    stream.end()


def test_one_id_on_two_streams(stub):
    """The second one is refused while the first one is open; after it, it goes on where the first one was."""
    inputs = walk(4)
    whole = raw(stub.ModelInfer(request(SIMPLE, {"input": inputs}, ["logits", "h_n"])))
    first, second = Stream(stub), Stream(stub)
    assert not first.ask(step(inputs[:, :1], 63, starts=True)).error_message
    for starts in (False, True):
        told = second.ask(step(inputs[:, 1:2], 63, starts=starts))
        assert refusal(told) == "ABORTED"
        assert "in use on another stream" in told.error_message
    assert not second.ask(step(inputs[:, :1], "63", starts=True)).error_message  # text is another id
    assert not first.ask(step(inputs[:, 1:2], 63)).error_message
    first.end()
    assert raw(once_the_stream_has_ended(stub, step(inputs[:, 2:], 63, ends=True))) == whole
    second.end()


def test_a_broken_stream_leaves_its_sequences(stub):
    inputs = walk(4)
    whole = raw(stub.ModelInfer(request(SIMPLE, {"input": inputs}, ["logits", "h_n"])))
    stream = Stream(stub)
    stream.ask(step(inputs[:, :2], 64, starts=True))
    stream.call.cancel()
    assert raw(once_the_stream_has_ended(stub, step(inputs[:, 2:], 64, ends=True))) == whole


@pytest.mark.parametrize("transport", ["lane", "public"])
def test_idle_sequences_are_dropped_and_their_clients_told(repository, transport):
    with asking(repository, transport=transport, sequence_idle=0.2) as stub:
        stub.ModelInfer(step(walk(1), 71, starts=True))
        time.sleep(0.5)
        with pytest.raises(grpc.RpcError) as raised:
            stub.ModelInfer(step(walk(1), 71))
        assert raised.value.code() is grpc.StatusCode.NOT_FOUND
        assert "was dropped after 0.2 s without a request (--sequence-idle)" in raised.value.details()
        stub.ModelInfer(step(walk(1), 71, starts=True))


@pytest.mark.parametrize("transport", ["lane", "public"])
def test_the_number_of_sequences_and_their_bytes_are_bounded(repository, transport):
    with asking(repository, transport=transport, max_sequences=4) as stub, stream_of(stub) as stream:
        answers = [stream.ask(step(walk(1), identity, starts=True)) for identity in (1, 2, 3)]
        assert [answer.error_message[:27] for answer in answers[:2]] == ["", ""]
        assert refusal(answers[2]) == "RESOURCE_EXHAUSTED"
        assert "half of --max-sequences" in answers[2].error_message
        stream.ask(step(walk(1), 1, ends=True))
        assert not stream.ask(step(walk(1), 3, starts=True)).error_message
    with asking(repository, transport=transport, max_sequence_bytes=2 * 64 * 3) as stub, stream_of(stub) as stream:
        answers = [stream.ask(step(walk(1), identity, starts=True)) for identity in (1, 2, 3, 4)]
        assert [not answer.error_message for answer in answers] == [True, True, True, False]
        assert "--max-sequence-bytes" in answers[3].error_message
        assert refusal(stream.ask(step(walk(1), 4))) == "NOT_FOUND"  # nothing has begun
        assert not stream.ask(step(walk(1), 1)).error_message


def test_a_start_that_is_one_too_many_leaves_the_sequence_that_was_there(repository):
    own = [("grpc.use_local_subchannel_pool", 1)]
    with Server(Settings(repository, grpc_port=0, provider="cpu", transport="lane", max_sequences=4)) as server:
        target = f"127.0.0.1:{server.port}"
        with grpc.insecure_channel(target, own) as one, grpc.insecure_channel(target, own) as other:
            first, second = rpc.GRPCInferenceServiceStub(one), rpc.GRPCInferenceServiceStub(other)
            for stub, identities in ((first, (1, 2)), (second, (3, 4))):
                for identity in identities:
                    stub.ModelInfer(step(walk(1), identity, starts=True))
            with pytest.raises(grpc.RpcError) as raised:
                second.ModelInfer(step(walk(1), 1, starts=True))
            assert raised.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
            first.ModelInfer(step(walk(1), 1))
            first.ModelInfer(step(walk(1), 1, starts=True))
