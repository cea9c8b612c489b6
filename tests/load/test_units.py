import argparse

import pytest

from rnnserve.client.commands.argument_types import parse_seconds
from rnnserve.load.units import (
    parse_confidence,
    parse_count,
    parse_duration,
    parse_natural,
    parse_nonnegative_seconds,
    parse_rates,
    parse_think_time,
)


def test_durations_and_think_times_are_read():
    assert [parse_duration(text) for text in ("500us", "5 ms", ".2s")] == [500_000, 5_000_000, 200_000_000]
    assert [parse_think_time(text) for text in ("0", "10ms", "250us", "1s")] == [0, 0.01, 0.00025, 1]
    for text in ("", "5", "ms", "0ms", "-5ms", "5 minutes"):
        with pytest.raises(argparse.ArgumentTypeError, match="is not a duration above 0"):
            parse_duration(text)
    for text in ("10", "-1ms", "", "0ms"):
        with pytest.raises(argparse.ArgumentTypeError, match="is not a duration"):
            parse_think_time(text)


@pytest.mark.parametrize(
    ("read", "texts"),
    [
        (parse_rates, ("", "0", "-5", "1,,2", "nan", "inf", "100,0", "1000001")),
        (parse_seconds, ("0", "inf")),
        (parse_nonnegative_seconds, ("-1",)),
        (parse_count, ("0", "1.5")),
        (parse_natural, ("-1", "1.5")),
        (parse_confidence, ("0.5", "1", "100%", "99 per cent")),
    ],
)
def test_invalid_numbers_are_refused(read, texts):
    for text in texts:
        with pytest.raises(argparse.ArgumentTypeError):
            read(text)
