"""Log lines about single requests: their rate, and how they escape text that clients chose."""

import json
import logging

import pytest

from rnnserve.common.log_lines import REQUESTS_LOGGER, LineBudget, LogLimits, log_formatter, log_request, usable_id


def test_lines_of_a_reason_are_limited_to_one_a_second():
    seconds = [0.0]
    budget = LineBudget(lambda: seconds[0])
    said = [budget.take("a") for _ in range(1316)]
    assert [said.count(0), said.count(None)] == [10, 1306]
    assert budget.take("b") == 0  # another reason is not hidden by the first
    seconds[0] += 1.0
    assert [budget.take("a") for _ in range(3)] == [1306, None, None]
    seconds[0] += 60.0
    assert [budget.take("a") for _ in range(11)] == [2] + 9 * [0] + [None]


@pytest.mark.parametrize(
    ("text", "is_usable"), [("mine-1", True), ("x" * 128, True), ("x" * 129, False), ("a b", False), ("ü", False)]
)
def test_ids_are_short_and_printable(text, is_usable):
    assert usable_id(text) == (text if is_usable else "")


def test_request_line_is_escaped_to_one_line(caplog):
    caplog.set_level(logging.INFO)
    log_request(
        {"request_id": "a", "peer": 'x"\n y', "version": "", "rows": None, "queue_seconds": 0.5},
        has_failed=True,
        left_out=7,
    )
    (record,) = caplog.records
    assert (record.name, record.levelname) == (REQUESTS_LOGGER, "WARNING")
    assert record.getMessage() == r'request_id=a peer="x\"\n y" queue_seconds=0.500000 left_out=7'
    line = json.loads(log_formatter("json", has_process=False).format(record))
    assert (line["request_id"], line["queue_seconds"], line["left_out"]) == ("a", 0.5, 7)
    assert all(LogLimits().filter(record) for _ in range(100))
