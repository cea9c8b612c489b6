import pytest

from rnnserve.client.errors import InvalidRequest
from rnnserve.client.load.latency_objective import parse_objective


def test_an_objective_is_percentiles_and_durations():
    assert parse_objective("p50=500us, p99.9=20ms,p100=1s").limits == ((50, 500_000), (99.9, 20_000_000), (100, 10**9))


@pytest.mark.parametrize("text", ["", "5ms", "p99", "p99=5", "p99=0ms", "p101=5ms", "p99=-5ms", "p99=5min", "p99=ms"])
def test_anything_else_is_refused(text):
    with pytest.raises(InvalidRequest):
        parse_objective(text)


def test_an_objective_holds_where_each_percentile_does(result):
    objective = parse_objective("p50=2ms,p99=5ms")
    assert objective.violations(result([1] * 99 + [50])) == []
    assert objective.violations(result([1] * 98 + [50] * 2)) == ["p99 was 50.0 ms, over 5.00 ms"]
    assert len(objective.violations(result([50] * 10))) == 2


def test_an_objective_allows_no_errors_and_does_not_hold_where_nothing_was_sent(result):
    objective = parse_objective("p99=5ms")
    assert objective.violations(result(errors={"UNAVAILABLE": 3})) == ["3 x UNAVAILABLE"]
    assert objective.violations(result([])) == ["nothing was sent"]
