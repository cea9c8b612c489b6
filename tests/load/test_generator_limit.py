import pytest

from rnnserve.load.generator_limit import explain_generator_limit, is_busy


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"latencies": [1] * 100, "lags": [0.1] * 100}, None),
        ({"latencies": [10] * 100, "lags": [1.5] * 100}, None),  # late, but by far less than what is measured
        ({"latencies": [1] * 100, "lags": [0.5] * 100}, None),  # much of what is measured, but less than matters
        ({"latencies": [5] * 100, "lags": [3] * 100}, "sends were late by 3.00 ms"),
        ({"latencies": [5] * 100, "cpu": 0.97}, "97%"),
        ({"errors": {"NOT_SENT": 7}}, "7 requests had timed out"),
    ],
)
def test_generator_is_named_if_it_is_the_limit(result, settings, said):
    limit = explain_generator_limit(result(**settings))
    assert (limit is None) if said is None else (said in limit)


def test_more_processes_are_recommended_only_if_a_generator_is_busy(result):
    for cpu, busy in ((0.9, False), (0.91, True)):
        assert is_busy(result(cpu=cpu).statistics) is busy
        assert ("--processes" in explain_generator_limit(result([5], lags=[5], cpu=cpu))) is busy
