import pytest

from rnnserve.client.errors import InvalidRequest
from rnnserve.load.latency_objective import parse_objective


def test_an_objective_is_percentiles_and_durations():
    assert parse_objective("p50=500us, p99.9=20ms,p100=1s").limits == ((50, 500_000), (99.9, 20_000_000), (100, 10**9))


@pytest.mark.parametrize("text", ["", "5ms", "p99", "p99=5", "p99=0ms", "p101=5ms", "p99=-5ms", "p99=5min", "p99=ms"])
def test_anything_else_is_refused(text):
    with pytest.raises(InvalidRequest):
        parse_objective(text)


def test_an_objective_has_a_confidence():
    assert parse_objective("p99=5ms").confidence == 0.99
    assert parse_objective("p99=5ms,p50=1ms", 0.95).confidence == 0.95
    assert parse_objective("p99=5ms,p50=1ms").durations == (5_000_000, 1_000_000)
