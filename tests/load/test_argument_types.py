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

NO_SWEEPS = "", "1:2", "2:1:1", "0:5:1", "1:5:0", "1:5:-1", "1:x:1", "1:1e6:0.1", "1:2e6:5e5", "1:2:inf"


def test_numbers_are_read():
    for text, expected in (("100:350:100", [100, 200, 300, 350]), ("5:5:1", [5]), ("0.1:0.3:0.1", [0.1, 0.2, 0.3])):
        assert parse_sweep(text) == pytest.approx(expected)
    assert parse_nonnegative_seconds("0") == 0
    assert parse_confidence("0.95") == parse_confidence("95%") == 0.95
    assert (parse_processes("3"), parse_processes("auto")) == (3, "auto")


@pytest.mark.parametrize(
    ("read", "texts"),
    [
        (parse_sweep, NO_SWEEPS),
        (parse_rates, ("", "0", "-5", "1,,2", "nan", "inf", "100,0", "1000001")),
        (parse_seconds, ("0", "inf")),
        (parse_nonnegative_seconds, ("-1",)),
        (parse_count, ("0", "1.5")),
        (parse_positive, ("0", "inf")),
        (parse_processes, ("0", "many")),
        (parse_confidence, ("0.5", "1", "100%", "99 per cent")),
    ],
)
def test_other_numbers_are_refused(read, texts):
    for text in texts:
        with pytest.raises(InvalidRequest):
            read(text)
