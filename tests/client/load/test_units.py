import pytest

from rnnserve.client.errors import InvalidRequest
from rnnserve.client.load.units import duration_text, parse_duration, rate_text
from rnnserve.client.load.words import count, rates, seconds, seconds_or_none, sweep


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
    assert duration_text(nanoseconds) == text


@pytest.mark.parametrize(("text", "expected"), [("500us", 500_000), ("5 ms", 5_000_000), (".2s", 200_000_000)])
def test_durations_are_read(text, expected):
    assert parse_duration(text) == expected


@pytest.mark.parametrize(("rate", "text"), [(1234.4, "1,234"), (2.5, "2.5"), (7, "7"), (99.96, "100.0")])
def test_rates(rate, text):
    assert rate_text(rate) == text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("100:300:100", [100, 200, 300]),
        ("100:350:100", [100, 200, 300, 350]),
        ("5:5:1", [5]),
        ("0.1:0.3:0.1", [0.1, 0.2, 0.3]),
    ],
)
def test_a_sweep_includes_both_ends(text, expected):
    assert sweep(text) == pytest.approx(expected)


@pytest.mark.parametrize(
    "text", ["", "1:2", "2:1:1", "0:5:1", "1:5:0", "1:5:-1", "1:x:1", "1:1e6:0.1", "1:2e6:5e5", "1:2:inf"]
)
def test_a_wrong_sweep_is_refused(text):
    with pytest.raises(InvalidRequest):
        sweep(text)


@pytest.mark.parametrize("text", ["", "0", "-5", "1,,2", "nan", "inf", "100,0", "1000001"])
def test_wrong_rates_are_refused(text):
    with pytest.raises(InvalidRequest):
        rates(text)


@pytest.mark.parametrize(
    ("read", "text"), [(seconds, "0"), (seconds, "inf"), (seconds_or_none, "-1"), (count, "0"), (count, "1.5")]
)
def test_other_wrong_numbers_are_refused(read, text):
    with pytest.raises(InvalidRequest):
        read(text)


def test_no_warm_up_is_fine():
    assert seconds_or_none("0") == 0
