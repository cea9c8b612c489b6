import pytest

from rnnserve.client.errors import InvalidRequest
from rnnserve.load.units import format_confidence, format_duration, format_rate, parse_duration, parse_think_time


@pytest.mark.parametrize(
    ("nanoseconds", "text"),
    [
        (0, "0.00 µs"),
        (1234, "1.23 µs"),
        (134_200, "134 µs"),
        (999_400, "999 µs"),
        (999_600, "1.00 ms"),
        (99_960_000, "100 ms"),
        (9_999_000, "10.0 ms"),
        (999_600_000, "1.00 s"),
        (2_345_000_000_000, "2,345 s"),
    ],
)
def test_durations_have_three_digits(nanoseconds, text):
    assert format_duration(nanoseconds) == text


@pytest.mark.parametrize(("text", "expected"), [("500us", 500_000), ("5 ms", 5_000_000), (".2s", 200_000_000)])
def test_durations_are_read(text, expected):
    assert parse_duration(text) == expected


@pytest.mark.parametrize(("rate", "text"), [(1234.4, "1,234"), (2.5, "2.5"), (7, "7"), (99.96, "100.0")])
def test_rates(rate, text):
    assert format_rate(rate) == text


@pytest.mark.parametrize("text", ["", "5", "ms", "0ms", "-5ms", "5 minutes"])
def test_a_duration_without_a_number_above_0_or_a_unit_is_refused(text):
    with pytest.raises(InvalidRequest, match="is not a duration above 0"):
        parse_duration(text)


@pytest.mark.parametrize(("text", "seconds"), [("0", 0), ("10ms", 0.01), ("250us", 0.00025), ("1s", 1)])
def test_think_times_are_read(text, seconds):
    assert parse_think_time(text) == seconds


@pytest.mark.parametrize("text", ["10", "-1ms", "", "0ms"])
def test_other_think_times_are_refused(text):
    with pytest.raises(InvalidRequest, match="is not a duration"):
        parse_think_time(text)


@pytest.mark.parametrize(("confidence", "text"), [(0.99, "99% confidence"), (0.9995, "99.95% confidence")])
def test_confidences(confidence, text):
    assert format_confidence(confidence) == text
