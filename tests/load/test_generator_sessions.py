"""Sessions on the hot path, in virtual time: when steps are due, which state they continue from, and how they end."""

import asyncio

import grpc
import numpy as np
import pytest

from rnnserve.load.generator import LoadGenerator, Status
from rnnserve.load.workload import RequestPool, SessionScript
from rnnserve.protos import inference_pb2 as pb

MS = 1_000_000


def ms(times):
    return [round(time / MS, 1) for time in times]


def session_pool(scripts=1, steps=3):
    """Scripts whose state is one number of four bytes, which an answer counts up."""
    count = scripts * steps
    script = [SessionScript(number * steps, steps, (1,), (bytes(4),)) for number in range(scripts)]
    payloads = [b"%d:" % index for index in range(count)]
    ones = np.ones(count, int)
    return RequestPool(("walks",), payloads, np.zeros(count, int), ones, scripts=tuple(script))


class Counter:
    """Answers a step within a millisecond with its state and one more, or fails at some of its calls."""

    def __init__(self, *, failing=(), slow=(), answer=None):
        self.failing, self.slow, self.answer = failing, slow, answer
        self.sent = []

    async def send(self, request, timeout):
        assert timeout > 0
        item, _, fields = request.partition(b":")
        state = int.from_bytes(pb.ModelInferRequest.FromString(fields).raw_input_contents[0], "little")
        self.sent.append((int(item), state))
        await asyncio.sleep(0.030 if len(self.sent) in self.slow else 0.001)
        if len(self.sent) in self.failing:
            raise grpc.aio.AioRpcError(grpc.StatusCode.UNAVAILABLE, grpc.aio.Metadata(), grpc.aio.Metadata(), "gone")
        response = pb.ModelInferResponse(raw_output_contents=[b"", (state + 1).to_bytes(4, "little")])
        return (self.answer or response).SerializeToString()


def run_sessions(loop, pool, counter, **settings):
    generator = LoadGenerator(pool, [counter.send], np.zeros(1, int), 5.0, loop.clock)
    settings = {"measure_from": 0, "end": 50 * MS, "sessions": 1, "think": 10 * MS, "max_requests": 1000, **settings}
    ended = loop.run_until_complete(generator.session_loop(settings.pop("begin", 0), **settings))
    return generator.samples, ended


def test_session_sends_its_next_step_a_think_time_after_the_answer(loop):
    counter = Counter(slow={4})
    samples, ended = run_sessions(loop, session_pool(), counter, end=80 * MS)
    assert not ended
    assert counter.sent == [(0, 0), (1, 1), (2, 2), (0, 0), (1, 1)]  # after three steps it begins anew
    due, sent, done, item, *_ = samples.table()
    assert ms(due) == ms(sent) == [0, 11, 22, 33, 73]
    assert ms(done) == [1, 12, 23, 63, 74]  # a slow answer delays the next step
    assert list(item) == [0, 1, 2, 0, 1]


def test_failed_step_is_sent_again_with_the_same_state(loop):
    counter = Counter(failing={2, 3})
    samples, _ = run_sessions(loop, session_pool(), counter)
    assert counter.sent == [(0, 0), (1, 1), (1, 1), (1, 1), (2, 2)]
    assert list(samples.table()[4]) == [0, 14, 14, 0, 0]
    assert samples.names[14] == "UNAVAILABLE"


def test_sessions_begin_within_the_first_think_time_and_share_scripts(loop):
    counter = Counter()
    samples, _ = run_sessions(loop, session_pool(scripts=2), counter, sessions=5, end=10 * MS)
    assert ms(samples.table()[0]) == [0, 2, 4, 6, 8]
    assert [item for item, _ in counter.sent] == [0, 3, 0, 3, 0]
    begin = loop.now
    samples, _ = run_sessions(loop, session_pool(), Counter(), begin=begin, think=0, end=begin + 5 * MS)
    assert ms(samples.table()[0] - begin) == [0, 1, 2, 3, 4]


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (pb.ModelInferResponse(raw_output_contents=[b""]), "has 1 raw outputs and lacks a final state"),
        (pb.ModelInferResponse(raw_output_contents=[b"", b"12345"]), "the final states have [5] bytes; expected [4]"),
    ],
)
def test_answer_without_its_state_is_invalid(loop, answer, said):
    samples, _ = run_sessions(loop, session_pool(), Counter(answer=answer), end=5 * MS)
    assert list(samples.table()[4]) == [Status.INVALID_ANSWER]
    assert said in samples.details[Status.INVALID_ANSWER]


def test_sequence_with_server_side_state_restarts_after_a_failure(loop):
    sent = []

    async def send(request, timeout):
        assert timeout > 0
        parameters = pb.ModelInferRequest.FromString(request.partition(b":")[2]).parameters
        starts, ends = "sequence_start" in parameters, "sequence_end" in parameters
        sent.append((int(request.partition(b":")[0]), parameters["sequence_id"].string_param, starts, ends))
        if len(sent) == 2:
            raise grpc.aio.AioRpcError(grpc.StatusCode.NOT_FOUND, grpc.aio.Metadata(), grpc.aio.Metadata(), "gone")
        return pb.ModelInferResponse().SerializeToString()

    payloads, ones = [b"%d:" % index for index in range(3)], np.ones(3, int)
    pool = RequestPool(("walks",), payloads, np.zeros(3, int), ones, scripts=(SessionScript(0, 3),))
    generator = LoadGenerator(pool, [send], np.zeros(1, int), 5.0, loop.clock)
    loop.run_until_complete(
        generator.session_loop(0, measure_from=0, end=50 * MS, sessions=1, think=10 * MS, max_requests=1000)
    )
    names = [name for _, name, _, _ in sent]
    assert len(sent) >= 5
    assert names[0] == names[1] != names[2] == names[3] == names[4]
    assert [(item, starts, ends) for item, _, starts, ends in sent[:5]] == [
        (0, True, False),
        (1, False, False),
        (0, True, False),
        (1, False, False),
        (2, False, True),
    ]
