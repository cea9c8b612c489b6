import pytest

from rnnserve.client.errors import InvalidRequest
from rnnserve.load.units import format_confidence, format_duration, format_rate, parse_duration, parse_think_time


@pytest.mark.parametrize(
    ("nanoseconds", "text"),
    [
        (0, "0.00 µs"),
        (1234, "1.23 µs"),
        (999_400, "999 µs"),
        (999_600, "1.00 ms"),
        (9_999_000, "10.0 ms"),
        (99_960_000, "100 ms"),
        (2_345_000_000_000, "2,345 s"),
    ],
)
def test_duration_has_three_digits(nanoseconds, text):
    assert format_duration(nanoseconds) == text


def test_rates_and_confidences_are_formatted():
    assert [format_rate(rate) for rate in (1234.4, 2.5, 7, 99.96)] == ["1,234", "2.5", "7", "100.0"]
    assert [format_confidence(0.99), format_confidence(0.9995)] == ["99% confidence", "99.95% confidence"]


def test_durations_and_think_times_are_read():
    assert [parse_duration(text) for text in ("500us", "5 ms", ".2s")] == [500_000, 5_000_000, 200_000_000]
    assert [parse_think_time(text) for text in ("0", "10ms", "250us", "1s")] == [0, 0.01, 0.00025, 1]
    for text in ("", "5", "ms", "0ms", "-5ms", "5 minutes"):
        with pytest.raises(InvalidRequest, match="is not a duration above 0"):
            parse_duration(text)
    for text in ("10", "-1ms", "", "0ms"):
        with pytest.raises(InvalidRequest, match="is not a duration"):
            parse_think_time(text)
