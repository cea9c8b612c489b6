import pytest

from rnnserve.client.errors import InvalidRequest
from rnnserve.load.latency_objective import parse_objective


def test_objective_is_percentiles_durations_and_a_confidence():
    found = parse_objective("p50=500us, p99.9=20ms,p100=1s")
    assert found.limits == ((50, 500_000), (99.9, 20_000_000), (100, 10**9))
    assert (found.confidence, found.durations) == (0.99, (500_000, 20_000_000, 10**9))
    assert parse_objective("p99=5ms", 0.95).confidence == 0.95


def test_other_objectives_are_refused():
    for text in ("", "5ms", "p99", "p99=5", "p99=0ms", "p101=5ms", "p99=-5ms", "p99=5min", "p99=ms"):
        with pytest.raises(InvalidRequest):
            parse_objective(text)
