"""What a generator counts while its load runs, with requests that have not ended."""

import numpy as np

from rnnserve.load.interim_counts import InterimCounts
from rnnserve.load.latency_counts import SLICES
from rnnserve.load.samples import OK, RequestSamples

BEGIN, END = 1000, 1000 + 64_000  # a slice is 1,000 ns long
EIGHTH = 8000
LIMIT = 500


def counting(samples, limits=(LIMIT,)):
    return InterimCounts(samples, limits, BEGIN, END)


def end(samples, due, latency, *, lag=0, status=OK):
    for column, value in (
        (samples.due, due),
        (samples.sent, due + lag),
        (samples.done, due + latency),
        (samples.status, status),
    ):
        column.append(value)


def run(samples, dues, latency=10, **settings):
    for due in dues:
        samples.begun.append(due)
        end(samples, due, latency, **settings)


def test_look_counts_requests_that_were_due_before_it():
    samples = RequestSamples()
    interim = counting(samples)
    run(samples, range(0, BEGIN, 100))  # warm-up
    run(samples, range(BEGIN, BEGIN + EIGHTH, 100))
    run(samples, range(BEGIN + EIGHTH, BEGIN + EIGHTH + 1000, 100), latency=LIMIT + 1)
    interim.advance()
    counts = interim.take_look(BEGIN + EIGHTH + LIMIT)
    assert counts.sent.tolist() == [10] * 8
    assert (counts.over.sum(), counts.over_from_send.sum(), counts.failed) == (0, 0, 0)


def test_requests_in_flight_are_over_the_limit_and_each_look_comes_once():
    samples = RequestSamples()
    interim = counting(samples)
    samples.begun.append(BEGIN + 20)  # has not ended
    run(samples, range(BEGIN, END, 250))
    interim.advance()
    looks = [interim.take_look(END + LIMIT) for _ in range(4)]
    assert [look and len(look.sent) for look in looks] == [8, 16, 32, None]
    assert [look and look.sent.sum() for look in looks] == [33, 65, 129, None]
    assert [look and look.over.sum() for look in looks] == [1, 1, 1, None]


def test_counts_add_up_over_calls():
    random = np.random.default_rng(1)
    samples, pieces = RequestSamples(), RequestSamples()
    whole, growing = counting(samples, (100, 500)), counting(pieces, (100, 500))
    for due in range(BEGIN, END, 100):
        latency = int(random.integers(1000))
        for where in (samples, pieces):
            run(where, [due], latency, lag=latency // 2)
        if random.random() < 0.1:
            growing.advance()
    whole.advance()
    growing.advance()
    one, other = whole.take_look(END + 10_000), growing.take_look(END + 10_000)
    assert one.over.tolist() == other.over.tolist()
    assert one.over_from_send.tolist() == other.over_from_send.tolist()
    assert one.over.sum() > one.over_from_send.sum() > 0
    assert len(one.sent) == SLICES // 8


def test_failures_that_cannot_be_the_generator_s_are_counted():
    samples = RequestSamples(names={-2: "NOT_SENT", 4: "DEADLINE_EXCEEDED", 14: "UNAVAILABLE"})
    interim = counting(samples)
    for status in (-2, 4, 14, OK):
        run(samples, [BEGIN], status=status)
    run(samples, [0], status=14)
    run(samples, [BEGIN + EIGHTH])
    interim.advance()
    counts = interim.take_look(END)
    assert (counts.failed, counts.over.sum()) == (1, 3)
