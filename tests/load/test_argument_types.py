import pytest

from rnnserve.client.commands.argument_types import parse_seconds
from rnnserve.client.errors import InvalidRequest
from rnnserve.load.argument_types import (
    parse_confidence,
    parse_count,
    parse_nonnegative_seconds,
    parse_positive,
    parse_processes,
    parse_rates,
    parse_sweep,
)


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
    assert parse_sweep(text) == pytest.approx(expected)


@pytest.mark.parametrize(
    "text", ["", "1:2", "2:1:1", "0:5:1", "1:5:0", "1:5:-1", "1:x:1", "1:1e6:0.1", "1:2e6:5e5", "1:2:inf"]
)
def test_a_wrong_sweep_is_refused(text):
    with pytest.raises(InvalidRequest):
        parse_sweep(text)


@pytest.mark.parametrize("text", ["", "0", "-5", "1,,2", "nan", "inf", "100,0", "1000001"])
def test_wrong_rates_are_refused(text):
    with pytest.raises(InvalidRequest):
        parse_rates(text)


@pytest.mark.parametrize(
    ("read", "text"),
    [
        (parse_seconds, "0"),
        (parse_seconds, "inf"),
        (parse_nonnegative_seconds, "-1"),
        (parse_count, "0"),
        (parse_count, "1.5"),
        (parse_positive, "0"),
        (parse_positive, "inf"),
        (parse_processes, "0"),
        (parse_processes, "many"),
        (parse_confidence, "0.5"),
        (parse_confidence, "1"),
        (parse_confidence, "100%"),
        (parse_confidence, "99 per cent"),
    ],
)
def test_other_wrong_numbers_are_refused(read, text):
    with pytest.raises(InvalidRequest):
        read(text)


def test_no_warm_up_is_fine():
    assert parse_nonnegative_seconds("0") == 0


def test_a_confidence_is_a_probability_or_percent():
    assert parse_confidence("0.95") == parse_confidence("95%") == 0.95


def test_processes_may_be_counted_or_chosen():
    assert (parse_processes("3"), parse_processes("auto")) == (3, "auto")
