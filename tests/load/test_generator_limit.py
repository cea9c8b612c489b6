import pytest

from rnnserve.load.generator_limit import explain_generator_limit, is_busy


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
def test_the_generator_is_named_where_it_is_the_limit(result, latencies, lags, cpu, said):
    limit = explain_generator_limit(result(latencies, lags=lags, cpu=cpu))
    assert (limit is None) if said is None else (said in limit)


def test_what_was_never_sent_is_the_generators_fault(result):
    assert "7 requests had timed out" in explain_generator_limit(result(errors={"NOT_SENT": 7}))


@pytest.mark.parametrize(("cpu", "busy"), [(0.9, False), (0.91, True)])
def test_a_generator_is_busy_above_nine_tenths_of_its_core(result, cpu, busy):
    assert is_busy(result(cpu=cpu).statistics) is busy


def test_more_processes_are_recommended_only_where_they_can_help(result):
    assert "--processes" in explain_generator_limit(result(cpu=0.95))
    assert "--processes" not in explain_generator_limit(result([5], lags=[5], cpu=0.2))
