"""h2load's output, and errors of gRPC, which it counts as successes."""

import pytest

from benchmarks.errors import LoadGeneratorFailed
from benchmarks.load_generators.h2load import parse_output

PRINTED = """\
Main benchmark duration is over for thread #0. Stopping all clients.

finished in 4.00s, 18536.00 req/s, 1.71MB/s
requests: 55608 total, 55608 started, 55608 done, 55608 succeeded, 0 failed, 0 errored, 0 timeout
status codes: 55608 2xx, 0 3xx, 0 4xx, 0 5xx
traffic: 5.14MB (5390211) total, 1.40MB (1464439) headers (space savings 81.90%), 3.60MB (3775793) data
                     min         max         mean         sd        +/- sd
time for request:      545us     22.46ms      3.33ms      2.38ms    92.11%
time for connect:        0us         0us         0us         0us     0.00%
req/s           :    4586.92     4696.92     4633.26       46.99    75.00%
"""


def test_figures_of_h2load_are_read():
    assert parse_output(PRINTED, answer_bytes=68) == {"requests/s": 18536.0, "requests": 55608.0, "mean ms": 3.33}


@pytest.mark.parametrize(("printed", "milliseconds"), [("333us", 0.333), ("3.33ms", 3.33), ("1.50s", 1500.0)])
def test_times_in_any_unit_are_parsed(printed, milliseconds):
    text = PRINTED.replace("3.33ms", printed)
    assert parse_output(text, answer_bytes=68)["mean ms"] == pytest.approx(milliseconds)


def test_answers_without_a_message_are_errors():
    with pytest.raises(LoadGeneratorFailed, match="some are errors"):
        parse_output(PRINTED.replace("(3775793) data", "(0) data"), answer_bytes=68)


@pytest.mark.parametrize("failure", ["1 failed", "1 errored", "1 timeout"])
def test_failures_that_h2load_counts_are_errors(failure):
    text = PRINTED.replace(f"0 {failure.split()[1]}", failure)
    with pytest.raises(LoadGeneratorFailed, match="succeeded"):
        parse_output(text, answer_bytes=68)
