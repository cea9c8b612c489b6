"""Sequences whose states the server keeps, on streams and by calls of their own, on both transports."""

import contextlib
import dataclasses
import random
import time
from collections.abc import Iterator, Sequence
from concurrent import futures

import grpc
import numpy as np
import pytest

from rnnserve.protos import inference_pb2 as pb
from rnnserve.protos import inference_pb2_grpc as rpc
from rnnserve.server import Server, Settings
from rnnserve.server.lane import connection_streams, streams
from support.inference_requests import request
from support.sequence_requests import PATIENCE, SIMPLE, Stream, eventually, raw, refusal, step, walk
from support.waiting import until

STACKED, BIDIRECTIONAL = "direction_stacked", "direction_bidirectional"


def in_parts(inputs, parts: Sequence[int], identity, **kwargs) -> Iterator[pb.ModelInferRequest]:
    """The requests of a sequence that is cut into parts of so many steps."""
    at = 0
    for number, steps in enumerate(parts):
        ends = number == len(parts) - 1
        yield step(inputs[:, at : at + steps], identity, starts=not number, ends=ends, id=f"part {number}", **kwargs)
        at += steps


def answers_of(stub, messages) -> list[pb.ModelStreamInferResponse]:
    return list(stub.ModelStreamInfer(messages, timeout=PATIENCE))


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


@contextlib.contextmanager
def serving(repository, transport, **changes):
    settings = dataclasses.replace(Settings(repository, grpc_port=0, provider="cpu", transport=transport), **changes)
    with Server(settings) as server, grpc.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        yield rpc.GRPCInferenceServiceStub(channel)


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
    with serving(repository, "lane") as lane, serving(repository, "public") as public:
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
    with serving(repository, transport, sequence_idle=0.2) as stub:
        stub.ModelInfer(step(walk(1), 71, starts=True))
        time.sleep(0.5)
        with pytest.raises(grpc.RpcError) as raised:
            stub.ModelInfer(step(walk(1), 71))
        assert raised.value.code() is grpc.StatusCode.NOT_FOUND
        assert "was dropped after 0.2 s without a request (--sequence-idle)" in raised.value.details()
        stub.ModelInfer(step(walk(1), 71, starts=True))


@pytest.mark.parametrize("transport", ["lane", "public"])
def test_the_number_of_sequences_and_their_bytes_are_bounded(repository, transport):
    with serving(repository, transport, max_sequences=4) as stub, stream_of(stub) as stream:
        answers = [stream.ask(step(walk(1), identity, starts=True)) for identity in (1, 2, 3)]
        assert [answer.error_message[:27] for answer in answers[:2]] == ["", ""]
        assert refusal(answers[2]) == "RESOURCE_EXHAUSTED"
        assert "half of --max-sequences" in answers[2].error_message
        stream.ask(step(walk(1), 1, ends=True))
        assert not stream.ask(step(walk(1), 3, starts=True)).error_message
    with serving(repository, transport, max_sequence_bytes=2 * 64 * 3) as stub, stream_of(stub) as stream:
        answers = [stream.ask(step(walk(1), identity, starts=True)) for identity in (1, 2, 3, 4)]
        assert [not answer.error_message for answer in answers] == [True, True, True, False]
        assert "--max-sequence-bytes" in answers[3].error_message
        assert refusal(stream.ask(step(walk(1), 4))) == "NOT_FOUND"  # nothing has begun
        assert not stream.ask(step(walk(1), 1)).error_message


@contextlib.contextmanager
def stream_of(stub):
    stream = Stream(stub)
    yield stream
    stream.end()


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
    with serving(repository, "lane") as stub, stream_of(stub) as stream:
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
    with serving(repository, "lane") as stub, contextlib.ExitStack() as stack:
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
    with serving(repository, "lane", max_streams=4) as stub:  # half of them for one connection
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
    with serving(repository, "lane") as stub, futures.ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: answers_of(stub, iter([message] * 600)), range(8)))
    assert [len(of_stream) for of_stream in answers] == [600] * 8
    assert not any(answer.error_message for of_stream in answers for answer in of_stream)


def test_streams_that_end_with_an_error_leave_room_for_others(repository, monkeypatch):
    monkeypatch.setattr(connection_streams, "_IN_HAND_OF_CONNECTION", 3)
    with serving(repository, "lane") as stub, stream_of(stub) as stays:
        assert not stays.ask(request(SIMPLE, {"input": walk(1)})).error_message
        for _ in range(5):
            with pytest.raises(grpc.RpcError):
                Stream(stub, metadata=(("triton_grpc_error", "true"),)).ask(request("nobody", {"input": walk(1)}))
        for _ in range(5):
            assert not stays.ask(request(SIMPLE, {"input": walk(1)})).error_message


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
