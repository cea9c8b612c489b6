import pytest

from rnnserve.client.errors import InvalidRequest
from rnnserve.client.load.judge import generator_limit, parse_objective
from rnnserve.client.load.search import highest_rate


def test_an_objective_is_percentiles_and_durations():
    assert parse_objective("p50=500us, p99.9=20ms,p100=1s").limits == ((50, 500_000), (99.9, 20_000_000), (100, 10**9))


@pytest.mark.parametrize("text", ["", "5ms", "p99", "p99=5", "p99=0ms", "p101=5ms", "p99=-5ms", "p99=5min", "p99=ms"])
def test_anything_else_is_refused(text):
    with pytest.raises(InvalidRequest):
        parse_objective(text)


def test_an_objective_holds_where_each_percentile_does(point):
    objective = parse_objective("p50=2ms,p99=5ms")
    assert objective.broken(point([1] * 99 + [50])) == []
    assert objective.broken(point([1] * 98 + [50] * 2)) == ["p99 was 50.0 ms, over 5.00 ms"]
    assert len(objective.broken(point([50] * 10))) == 2


def test_an_objective_allows_no_errors_and_does_not_hold_where_nothing_was_sent(point):
    objective = parse_objective("p99=5ms")
    assert objective.broken(point(errors={"UNAVAILABLE": 3})) == ["3 x UNAVAILABLE"]
    assert objective.broken(point([])) == ["nothing was sent"]


@pytest.mark.parametrize(
    ("latencies", "lags", "cpu", "said"),
    [
        ([1] * 100, [0.1] * 100, 0.5, None),
        ([10] * 100, [1.5] * 100, 0.5, None),  # late, but by far less than what is measured
        ([1] * 100, [0.5] * 100, 0.5, None),  # much of what is measured, but less than matters
        ([5] * 100, [3] * 100, 0.5, "sends were late by 3.00 ms"),
        ([5] * 100, [0] * 100, 0.97, "97%"),
    ],
)
def test_the_generator_is_named_where_it_is_the_limit(point, latencies, lags, cpu, said):
    limit = generator_limit(point(latencies, lags=lags, cpu=cpu))
    assert (limit is None) if said is None else (said in limit)


def test_what_was_never_sent_is_the_generators_fault(point):
    assert "7 requests had run out of time" in generator_limit(point(errors={"NOT_SENT": 7}))


def test_more_processes_are_recommended_only_where_they_can_help(point):
    assert "--processes" in generator_limit(point(cpu=0.95))
    assert "--processes" not in generator_limit(point([5], lags=[5], cpu=0.2))


@pytest.mark.parametrize("limit", [1, 3, 99, 100, 101, 777, 5000, 123_456])
@pytest.mark.parametrize("start", [100, 1000])
def test_the_search_finds_the_rate_within_five_percent(limit, start):
    tried = []

    def holds(rate):
        tried.append(rate)
        return rate <= limit

    found = highest_rate(holds, start, loads=40)
    assert found in tried
    assert found <= limit
    # Rates have three digits, and below 20 a twentieth is less than one.
    assert found >= limit / 1.06 - 1
    assert len(tried) == len(set(tried))


def test_the_search_gives_up_where_no_rate_holds():
    tried = []
    assert highest_rate(lambda rate: tried.append(rate) or False, 100) is None
    assert min(tried) >= 1
    assert len(tried) <= 8


@pytest.mark.parametrize("loads", [1, 2, 5])
def test_the_search_is_bounded(loads):
    tried = []
    highest_rate(lambda rate: tried.append(rate) or True, 100, loads=loads)
    assert len(tried) == loads


def test_a_server_that_holds_everything_ends_the_search_too():
    assert highest_rate(bool, 100, loads=1000) == 1_000_000
