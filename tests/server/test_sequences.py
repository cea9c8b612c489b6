"""Sequences whose states the server keeps: on streams and by calls, and the clients that can reach them."""

import contextlib
import random
import time
from concurrent import futures

import grpc
import numpy as np
import pytest

from kit.inference_requests import request
from kit.sequence_requests import PATIENCE, SIMPLE, Calls, Stream, answers_of, in_parts, raw, refusal, step, walk
from kit.served import served
from rnnserve.protos import inference_pb2 as pb
from rnnserve.protos import inference_pb2_grpc as rpc
from rnnserve.server.connections.byte_budget import ByteBudget
from rnnserve.server.errors import TooMuchHeld

STACKED, BIDIRECTIONAL = "direction_stacked", "direction_bidirectional"
WRONG = np.full((1, 1, 2), np.nan, np.float32)


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


def whole_of(stub, inputs, *outputs, name=SIMPLE):
    return raw(stub.ModelInfer(request(name, {"input": inputs}, outputs or ("logits", "h_n"))))


@pytest.mark.parametrize(("name", "identity"), [(SIMPLE, 7), (STACKED, "walk seven")])
def test_sequence_has_the_same_bits_however_it_is_split(stub, name, identity):
    inputs = walk(12)
    whole, (outputs,) = whole_of(stub, inputs, name=name), whole_of(stub, inputs, "output", name=name)
    for parts in ([12], [1] * 12, [5, 7], [1, 11], [11, 1], [2, 3, 1, 6]):
        answers = answers_of(stub, in_parts(inputs, parts, identity, name=name))
        assert [answer.error_message for answer in answers] == [""] * len(parts)
        assert [answer.infer_response.id for answer in answers] == [f"part {n}" for n in range(len(parts))]
        assert raw(answers[-1].infer_response) == whole
        by_calls = [stub.ModelInfer(part) for part in in_parts(inputs, parts, identity, name=name)]
        assert raw(by_calls[-1]) == whole
        pieces = answers_of(stub, in_parts(inputs, parts, identity, name=name, outputs=["output"]))
        assert b"".join(raw(piece.infer_response)[0] for piece in pieces) == outputs


def test_steps_of_many_sequences_have_unbatched_answers(stub):
    """The sequences share one stream, then use many, with parts of different lengths, rows and outputs."""
    chance = random.Random(4)
    walks = {identity: walk(9, rows=1 + identity % 2, seed=identity) for identity in range(1, 25)}
    expected = {identity: whole_of(stub, walked) for identity, walked in walks.items()}
    mixed = []
    waiting = {identity: list(in_parts(walked, [1, 3, 1, 4], identity)) for identity, walked in walks.items()}
    while waiting:
        identity = chance.choice(list(waiting))
        mixed.append((identity, waiting[identity].pop(0)))
        if not waiting[identity]:
            del waiting[identity]
    last: dict[int, list[bytes]] = {}
    for (identity, _), answer in zip(mixed, answers_of(stub, iter([message for _, message in mixed])), strict=True):
        assert not answer.error_message
        last[identity] = raw(answer.infer_response)
    assert last == expected
    with futures.ThreadPoolExecutor(24) as pool:
        streams = {
            identity: pool.submit(answers_of, stub, in_parts(walked, [1] * 9, 1000 + identity))
            for identity, walked in walks.items()
        }
    assert {identity: raw(done.result()[-1].infer_response) for identity, done in streams.items()} == expected


def test_first_request_can_set_the_states(stub):
    inputs = walk(6)
    (state,) = whole_of(stub, inputs[:, :2], "h_n")
    h_0 = np.frombuffer(state, np.float32).reshape(1, 1, -1)
    answer = stub.ModelInfer(step({"input": inputs[:, 2:], "h_0": h_0}, 31, starts=True, ends=True))
    assert raw(answer) == whole_of(stub, inputs)


ODD = {
    "never started": ([step(walk(1), 51)], "NOT_FOUND", "must set sequence_start"),
    "after its end": ([step(walk(1), 52, starts=True, ends=True), step(walk(1), 52)], "NOT_FOUND", "is unknown"),
    "other rows": ([step(walk(1), 53, starts=True), step(walk(1, 2), 53)], "INVALID_ARGUMENT", "has 1 rows"),
    "states in the middle": (
        [step(walk(1), 54, starts=True), step({"input": walk(1), "h_0": np.zeros((1, 1, 16), np.float32)}, 54)],
        "INVALID_ARGUMENT",
        "takes its states from its previous request",
    ),
    "bidirectional": ([step(walk(1), 55, name=BIDIRECTIONAL, starts=True)], "UNIMPLEMENTED", "bidirectional layer"),
    "another version": (
        [step(walk(1), 56, starts=True), step(walk(1), 56, version="7")],
        "NOT_FOUND",
        'has no version "7"',
    ),
    "not finite": (
        [step(walk(1), 57, starts=True), step(WRONG, 57)],
        "INVALID_ARGUMENT",
        "is nan",
    ),
}  # fmt: skip


@pytest.mark.parametrize("odd", ODD)
def test_invalid_step_is_refused_and_leaves_its_sequence_unchanged(stub, odd):
    messages, status, words = ODD[odd]
    stream = Stream(stub)
    for way in (stream, Calls(stub)):
        *before, told = [way.ask(message) for message in messages]
        assert [answer.error_message for answer in before] == [""] * len(before)
        assert refusal(told) == status
        assert words in told.error_message
        if way is stream:
            assert not stream.ask(request(SIMPLE, {"input": walk(3)})).error_message
            stream.end()
            for message in messages[:-1]:
                once_the_stream_has_ended(stub, message)


def test_refused_step_changes_nothing_and_a_start_restarts_the_sequence(stub):
    inputs = walk(4)
    stream = Stream(stub)
    first = stream.ask(step(inputs[:, :2], 61, starts=True))
    assert not first.error_message
    assert refusal(stream.ask(step(WRONG, 61))) == "INVALID_ARGUMENT"
    assert refusal(stream.ask(step(walk(1, rows=3), 61))) == "INVALID_ARGUMENT"
    assert raw(stream.ask(step(inputs[:, 2:], 61)).infer_response) == whole_of(stub, inputs)
    again = stream.ask(step(inputs[:, :2], 61, starts=True))
    assert raw(again.infer_response) == raw(first.infer_response)
    stream.ask(step(inputs, 61, ends=True))
    assert not stream.end()


def test_sequence_belongs_to_one_stream_until_the_stream_ends(stub):
    """Then another stream can continue it, even if the first one was cancelled."""
    inputs = walk(4)
    first, second = Stream(stub), Stream(stub)
    assert not first.ask(step(inputs[:, :1], 63, starts=True)).error_message
    for starts in (False, True):
        told = second.ask(step(inputs[:, 1:2], 63, starts=starts))
        assert refusal(told) == "ABORTED"
        assert "in use on another stream" in told.error_message
    assert not second.ask(step(inputs[:, :1], "63", starts=True)).error_message  # text is another id
    assert not first.ask(step(inputs[:, 1:2], 63)).error_message
    first.end()
    assert raw(once_the_stream_has_ended(stub, step(inputs[:, 2:], 63, ends=True))) == whole_of(stub, inputs)
    second.ask(step(inputs[:, :2], 64, starts=True))
    second.call.cancel()
    assert raw(once_the_stream_has_ended(stub, step(inputs[:, 2:], 64, ends=True))) == whole_of(stub, inputs)


@pytest.mark.parametrize("way", [Calls, Stream])
def test_step_with_a_too_large_answer_leaves_its_sequence_unchanged(repository, monkeypatch, way):
    """Others hold so much that there is no room for an answer of 256,000 bytes."""
    take = ByteBudget.take

    def take_little(budget, connection, size):
        if size > 250_000:
            raise TooMuchHeld.by_all(size, 0)
        take(budget, connection, size)

    monkeypatch.setattr(ByteBudget, "take", take_little)
    parts = [walk(3, seed=1), walk(4, seed=2)]
    with served(repository) as server:
        whole = [raw(server.stub.ModelInfer(step(part, 1, starts=not at))) for at, part in enumerate(parts)]
        ways = way(server.stub)
        assert raw(ways.ask(step(parts[0], 2, starts=True)).infer_response) == whole[0]
        for _ in range(3):
            large = step(walk(4000, seed=3), 2, outputs=["output", "h_n"])
            assert refusal(ways.ask(large)) == "RESOURCE_EXHAUSTED"
        assert raw(ways.ask(step(parts[1], 2)).infer_response) == whole[1]
        ways.end()


OWN = [("grpc.use_local_subchannel_pool", 1)]


@pytest.fixture
def clients(server):
    """Two stubs, each with a connection of its own, and what makes more."""
    with contextlib.ExitStack() as stack:
        target = f"127.0.0.1:{server.port}"
        yield lambda: rpc.GRPCInferenceServiceStub(stack.enter_context(grpc.insecure_channel(target, OWN)))


@pytest.mark.parametrize(("mine", "theirs"), [(Calls, Stream), (Stream, Calls)])
def test_other_client_cannot_reach_a_sequence_by_guessing_its_id(clients, mine, theirs):
    """It can neither continue, read, end, replace nor delay the sequence, nor learn that it exists."""
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
def test_sequence_key_continues_a_sequence_on_any_connection(clients, on):
    inputs = walk(4)
    whole = raw(clients().ModelInfer(request(SIMPLE, {"input": inputs}, ["logits", "h_n"])))
    first, second, key = Calls(clients()), on(clients()), "0123456789abcdef"
    assert not first.ask(with_key(step(inputs[:, :2], 1000, starts=True), key)).error_message
    assert refusal(first.ask(step(inputs[:, 2:], 1000))) == "NOT_FOUND"
    assert refusal(second.ask(with_key(step(inputs[:, 2:], 1000), "another" + key))) == "NOT_FOUND"
    assert raw(second.ask(with_key(step(inputs[:, 2:], 1000, ends=True), key)).infer_response) == whole
    assert second.end() == []


@pytest.mark.parametrize("key", ["", "x" * 15, "x" * 129])
def test_sequence_key_of_a_wrong_length_is_refused(stub, key):
    with pytest.raises(
        grpc.RpcError, match=r"parameter sequence_key has \d+ characters; expected text .* of 16 to 128"
    ):
        stub.ModelInfer(with_key(step(walk(1), 5, starts=True), key))
    number = step(walk(1), 5, starts=True)
    number.parameters["sequence_key"].int64_param = 1234567890123456
    with pytest.raises(grpc.RpcError, match="parameter sequence_key has 0 characters; expected text"):
        stub.ModelInfer(number)
