"""The hot path in virtual time: when requests are due, sent and answered, and how they are recorded."""

import asyncio

import grpc
import numpy as np
import pytest

from rnnserve.load.answer_checks import AnswerChecker
from rnnserve.load.generator import LoadGenerator, Status
from rnnserve.load.statistics import summarize_samples
from rnnserve.load.workload import RequestPool, build_pool
from rnnserve.protos import inference_pb2 as pb

MS = 1_000_000


POOL = RequestPool(("walks",), [b"request"], np.zeros(1, int), np.ones(1, int))


@pytest.fixture
def generator_of(loop):
    """Makes a generator of some requests in some order, from a function that sends a request."""

    def make(send, requests=POOL, order=(0,), timeout=5.0):
        return LoadGenerator(requests, [send], np.array(order), timeout, loop.clock, AnswerChecker(requests.checks))

    return make


@pytest.fixture
def answered(loop):
    """Makes a function that sends a request and waits some seconds for its answer."""

    def make(seconds, answer=b""):
        async def send(request, timeout):
            await asyncio.sleep(seconds(loop.now) if callable(seconds) else seconds)
            return answer

        return send

    return make


def sent_by(loop, generator, schedule):
    loop.run_until_complete(generator.open_loop(0, np.array(schedule, np.int64)))
    return generator.samples


def ms(times):
    return [round(time / MS, 1) for time in times]


def latencies_of(samples):
    """Return the latency of each request in milliseconds, by its due time."""
    due, _, done, *_ = samples.table()
    return dict(zip(ms(due), ms(done - due), strict=True))


def test_request_is_sent_when_it_is_due(loop, generator_of, answered):
    samples = sent_by(loop, generator_of(answered(0.002)), [0, 5 * MS, 9 * MS, 9 * MS])
    due, sent, done, _, status, _ = samples.table()
    assert ms(due) == ms(sent) == [0, 5, 9, 9]
    assert ms(done) == [2, 7, 11, 11]
    assert (sent >= due).all()
    assert set(status) == {Status.OK}


def test_stalled_server_delays_count_for_every_due_request(loop, generator_of, answered):
    # It answers within a millisecond, but not between 100 and 400 ms.
    send = answered(lambda now: (400 * MS - now) / 1e9 if 100 * MS <= now < 400 * MS else 0.001)
    samples = sent_by(loop, generator_of(send), range(0, 500 * MS, 10 * MS))
    for due, latency in latencies_of(samples).items():
        assert latency == (400 - due if 100 <= due < 400 else 1.0)
    # Thirty of fifty requests fell into the stall; a load that waits for answers would have seen one slow one.
    assert summarize_samples(samples, POOL, begin=0, end=500 * MS).latencies().percentile(50) > 50 * MS


def test_generator_stall_counts_as_latency_and_lag(loop, generator_of):
    calls = []

    async def send(request, timeout):
        calls.append(loop.now)
        if len(calls) == 2:
            loop.now += 50 * MS  # the whole process stood still
        await asyncio.sleep(0.001)
        return b""

    samples = sent_by(loop, generator_of(send), [0, 10 * MS, 20 * MS, 30 * MS, 100 * MS])
    assert ms(samples.table()[1] - samples.table()[0]) == [0, 0, 40, 30, 0]
    assert latencies_of(samples) == {0: 1, 10: 51, 20: 41, 30: 31, 100: 1}


def test_expired_request_is_not_sent(loop, generator_of):
    given = []

    async def send(request, timeout):
        given.append(timeout)
        if len(given) == 1:
            loop.now += 70 * MS  # the whole process stood still
        return b""

    samples = sent_by(loop, generator_of(send, timeout=0.05), [0, 10 * MS, 30 * MS, 100 * MS])
    assert given == pytest.approx([0.05, 0.01, 0.05], abs=1e-4)
    result = summarize_samples(samples, POOL, begin=0, end=100 * MS)
    assert result.errors == {"NOT_SENT": 1}
    assert ms([result.lags().max, result.latencies().max]) == [60, 70]


def test_late_generator_still_receives_answers(loop):
    started, seen = [], []

    async def send(request, timeout):
        await asyncio.sleep(0)
        seen.append(len(started))
        return b""

    generator = LoadGenerator(POOL, [send], np.zeros(1, int), 1e9, lambda: started.append(1) or 10**12)
    sent_by(loop, generator, [0] * 1000)
    assert seen[0] < 100  # not all of the thousand were made before the first answer was seen


def test_closed_loop_keeps_its_requests_in_flight_until_the_last(loop, generator_of):
    flying, most = 0, 0

    async def send(request, timeout):
        nonlocal flying, most
        flying += 1
        most = max(most, flying)
        await asyncio.sleep(0.01)
        flying -= 1
        return b""

    generator = generator_of(send)
    run = generator.closed_loop(0, measure_from=20 * MS, end=100 * MS, workers=3, max_requests=1000)
    assert not loop.run_until_complete(run)
    assert most == 3
    assert generator.samples.ended == 30
    generator = generator_of(send)
    run = generator.closed_loop(0, measure_from=loop.now + 20 * MS, end=10**12, workers=2, max_requests=5)
    assert loop.run_until_complete(run)
    due = generator.samples.table()[0]
    assert (due >= due[0] + 19 * MS).sum() == 5


def test_failures_are_counted_with_the_first_message_and_defects_raised(loop, generator_of):
    said = iter(["full", "still full"])

    async def refuse(request, timeout):
        metadata = grpc.aio.Metadata()
        raise grpc.aio.AioRpcError(grpc.StatusCode.RESOURCE_EXHAUSTED, metadata, metadata, details=next(said))

    result = summarize_samples(sent_by(loop, generator_of(refuse), [0, MS]), POOL, begin=0, end=MS)
    assert result.errors == {"RESOURCE_EXHAUSTED": 2}
    assert result.details == {"RESOURCE_EXHAUSTED": "full"}
    assert (result.sent, result.answered, result.latencies().count) == (2, 0, 0)

    async def fail(request, timeout):
        raise ZeroDivisionError

    with pytest.raises(ExceptionGroup) as raised:
        sent_by(loop, generator_of(fail), [0])
    assert raised.group_contains(ZeroDivisionError)


def response(logits, typed=False):
    answer = pb.ModelInferResponse()
    logits = np.array(logits, "<f4").reshape(-1, 2) if np.size(logits) % 2 == 0 else np.array(logits, "<f4")
    output = answer.outputs.add(name="logits", datatype="FP32", shape=logits.shape)
    if typed:
        output.contents.fp32_contents.extend(logits.ravel().tolist())
    else:
        answer.raw_output_contents.append(logits.tobytes())
    return answer.SerializeToString()


def test_answer_without_logits_is_invalid(loop, generator_of, answered, spec):
    requests = build_pool(spec(pool=1))
    for answer, status in (
        (response([1, 2]), Status.OK),  # the reference
        (response([1, 2], typed=True), Status.OK),
        (response([1, 2, 3]), Status.INVALID_ANSWER),
        (response([], typed=True), Status.INVALID_ANSWER),
        (pb.ModelInferResponse().SerializeToString(), Status.INVALID_ANSWER),
        (b"\xff\xff", Status.INVALID_ANSWER),
    ):
        samples = sent_by(loop, generator_of(answered(0, answer), requests), [0])
        assert list(samples.table()[4]) == [status]
        result = summarize_samples(samples, requests, begin=0, end=MS)
        assert dict(result.errors) == ({} if status == Status.OK else {"INVALID_ANSWER": 1})


def test_answers_are_compared_row_by_row(loop, generator_of, spec):
    requests = build_pool(spec(length="1:6", batch="1:5", pool=20))
    calls, flipped = [], 3

    async def send(request, timeout):
        number = requests.payloads.index(request)
        calls.append(number)
        await asyncio.sleep((20 - number) / 1000)  # the last is answered first
        is_wrong = number == flipped and calls.count(number) > 1
        return response(np.eye(2)[[int(is_wrong)] + [0] * (int(requests.rows[number]) - 1)])

    samples = sent_by(loop, generator_of(send, requests, np.arange(20)), [*range(20), *range(10**8, 10**8 + 20)])
    result = summarize_samples(samples, requests, begin=0, end=10**9)
    assert (result.compared, result.different) == (requests.rows.sum(), 1)  # the first answers are the references
    assert result.rows == 2 * requests.rows.sum()
