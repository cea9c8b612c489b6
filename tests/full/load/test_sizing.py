import re

import pytest

from rnnserve.load.latency_objective import parse_objective
from rnnserve.load.sizing import MeasuredRate, Sizing, find_capacity, size_line
from rnnserve.load.verdict import Decision

HELD, NOT_HELD, UNDECIDED = Decision.HELD, Decision.NOT_HELD, Decision.UNDECIDED


def rate(number, decision, *milliseconds, failed=0):
    return MeasuredRate(number, decision, tuple(1_000_000 * each for each in milliseconds), failed)


@pytest.mark.parametrize(
    ("measured", "carries", "above"),
    [
        ([rate(100, HELD, 5), rate(200, HELD, 8)], 200, None),
        ([rate(200, HELD, 10), rate(100, HELD, 5), rate(400, NOT_HELD, 30)], 300, 400),  # a straight line, 10 to 30 ms
        ([rate(200, HELD, 10), rate(400, UNDECIDED, 30), rate(800, NOT_HELD, 900)], 300, 400),
        ([rate(200, HELD, 10), rate(400, UNDECIDED, 19)], 200, 400),  # meets the limit, but wasn't shown to
        ([rate(200, HELD, 10), rate(400, NOT_HELD, 30, failed=1)], 200, 400),  # failures aren't slowness
        ([rate(100, NOT_HELD, 90), rate(200, HELD, 10), rate(400, NOT_HELD, 30)], 300, 400),
    ],
)
def test_capacity_lies_between_rates_that_were_measured(measured, carries, above):
    found = find_capacity(measured, parse_objective("p99=20ms"))
    assert found.rate == pytest.approx(carries)
    assert (found.above and found.above.rate) == above
    assert found.is_interpolated == (carries not in [one.rate for one in measured])


def test_capacity_is_the_first_of_several_limits_that_is_met():
    measured = [rate(100, HELD, 1, 10), rate(200, NOT_HELD, 5, 30)]  # p50 meets 2 ms at 125, p99 20 ms at 150
    assert find_capacity(measured, parse_objective("p50=2ms,p99=20ms")).rate == pytest.approx(125)


def test_servers_suffice_for_the_target_while_spare_ones_are_away():
    for target, each, spare, carrying in ((5000, 896, 1, 6), (896, 896, 1, 1), (897, 896, 1, 2), (0.3, 0.1, 2, 3)):
        sizing = Sizing(target, each, spare)
        assert (sizing.carrying, sizing.servers) == (carrying, carrying + spare)


def test_line_after_a_load_sizes_for_a_larger_round_rate(load_test, sweep):
    line = size_line(load_test(sweep, "p50=4ms"))
    holds, servers = re.match(r"sizing: this holds (\d+)/s at p50 4ms: 5,000/s need (\d+) \+ 1 ", line).groups()
    assert 540 < int(holds) < 600  # medians of 2.8 ms at 400 and 5.5 ms at 800
    assert int(servers) == -(-5000 // int(holds))
    for slo in (None, "p99=1us"):  # nothing holds
        assert size_line(load_test(sweep, slo)) is None
