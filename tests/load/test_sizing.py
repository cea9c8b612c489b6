import math
import re

import pytest

from rnnserve.client import InvalidRequest
from rnnserve.load.latency_objective import parse_objective
from rnnserve.load.sizing import MeasuredRate, Sizing, find_capacity, resources_of, size_line
from rnnserve.load.verdict import Decision

MS = 1_000_000
HELD, NOT_HELD, UNDECIDED = Decision.HELD, Decision.NOT_HELD, Decision.UNDECIDED


def rate(number, decision, *milliseconds, failed=0):
    return MeasuredRate(number, decision, tuple(MS * each for each in milliseconds), failed)


@pytest.mark.parametrize(
    ("measured", "carries", "above"),
    [
        ([rate(100, HELD, 5), rate(200, HELD, 8)], 200, None),
        ([rate(200, HELD, 10), rate(100, HELD, 5), rate(400, NOT_HELD, 30)], 300, 400),  # a straight line, 10 to 30 ms
        ([rate(200, HELD, 20), rate(400, NOT_HELD, 30)], 200, 400),
        ([rate(200, HELD, 10), rate(400, UNDECIDED, 30), rate(800, NOT_HELD, 900)], 300, 400),
        ([rate(200, HELD, 10), rate(400, UNDECIDED, 19)], 200, 400),  # meets the limit, and was not shown to
        ([rate(200, HELD, 10), rate(400, NOT_HELD, 30, failed=1)], 200, 400),  # who failed was not slow
        ([rate(100, NOT_HELD, 90), rate(200, HELD, 10), rate(400, NOT_HELD, 30)], 300, 400),
    ],
)
def test_what_a_server_carries_lies_between_rates_that_were_measured(measured, carries, above):
    found = find_capacity(measured, parse_objective("p99=20ms"))
    assert found.rate == pytest.approx(carries)
    assert (found.above and found.above.rate) == above
    assert found.is_interpolated == (carries not in [one.rate for one in measured])


def test_the_first_of_several_limits_that_is_met_counts():
    measured = [rate(100, HELD, 1, 10), rate(200, NOT_HELD, 5, 30)]  # p50 meets 2 ms at 125, p99 20 ms at 150
    assert find_capacity(measured, parse_objective("p50=2ms,p99=20ms")).rate == pytest.approx(125)


@pytest.mark.parametrize(
    ("measured", "said"),
    [
        ([rate(100, NOT_HELD, 30), rate(200, NOT_HELD, 90)], "none of its 2 rates .* not held .p99 30.0 ms.* lower"),
        ([rate(200, NOT_HELD, 90), rate(100, UNDECIDED, 3)], "100/s, is undecided .p99 3.00 ms.: measure longer"),
    ],
)
def test_where_no_rate_holds_it_is_said_what_to_measure(measured, said):
    with pytest.raises(InvalidRequest, match=said):
        find_capacity(measured, parse_objective("p99=20ms"))


@pytest.mark.parametrize(
    ("target", "each", "spare", "carrying", "servers"),
    [(5000, 896, 1, 6, 7), (896, 896, 1, 1, 2), (897, 896, 1, 2, 3), (1, 896, 1, 1, 2), (3000, 1000, 0, 3, 3),
     (0.3, 0.1, 2, 3, 5)],
)  # fmt: skip
def test_servers_are_enough_for_the_target_and_some_may_be_away(target, each, spare, carrying, servers):
    sizing = Sizing(target, each, spare)
    assert (sizing.carrying, sizing.servers) == (carrying, servers)
    assert sizing.carrying * each >= target * (1 - 1e-9) > (sizing.carrying - 1) * each


def test_a_server_asks_for_a_quarter_more_than_it_used():
    capacity = find_capacity([rate(200, HELD, 10), rate(400, NOT_HELD, 30)], parse_objective("p99=20ms"))  # 300
    found = resources_of(capacity, servers=2, cores=1.6, memory=200 << 20)
    assert found.cores == pytest.approx(1.2)  # 0.8 each at 200, and half as much again at 300
    assert (found.cpu_request, found.memory) == (1.5, 100 << 20)
    assert (found.memory_request, found.memory_limit) == (128 << 20, 256 << 20)


def test_the_line_after_a_load_sizes_for_a_larger_round_rate(load_test, sweep, result):
    line = size_line(load_test(sweep, "p50=4ms"))
    said = re.fullmatch(
        r"sizing: this holds (\d+)/s at p50 4ms: 5,000/s need (\d+) \+ 1 \(rnnserve size, from --json\)", line
    )
    holds, servers = map(int, said.groups())
    assert 540 < holds < 600  # medians of 2.8 ms at 400 and 5.5 ms at 800
    assert servers == math.ceil(5000 / holds)
    assert size_line(load_test(sweep, "p99=500ms")).startswith("sizing: this holds at least 6,400/s at p99 500ms: 50,0")


def test_nothing_is_sized_without_rates_that_hold(load_test, sweep, result):
    assert size_line(load_test(sweep)) is None
    assert size_line(load_test(sweep, "p99=1us")) is None
    assert size_line(load_test([result([1] * 1000, closed=4)], "p99=20ms")) is None
