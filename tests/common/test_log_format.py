"""The log's lines: text with the time's zone, or a JSON object a line."""

import datetime as dt
import json
import logging
import os

import pytest

from rnnserve.common.log_lines import log_formatter, log_request


def record(message, *args, error=None):
    exc_info = (type(error), error, error.__traceback__) if error else None
    return logging.LogRecord("rnnserve.some", logging.WARNING, __file__, 1, message, args, exc_info)


@pytest.mark.parametrize("has_process", [True, False])
def test_text_log_has_the_time_with_its_zone(has_process):
    date, time, level, *process, name, message = (
        log_formatter("text", has_process=has_process).format(record("a%d", 1)).split()
    )
    assert dt.datetime.fromisoformat(f"{date} {time}").tzinfo is not None
    assert (level, name, message) == ("WARNING", "rnnserve.some:", "a1")
    assert process == ([f"[{os.getpid()}]"] if has_process else [])


def test_json_line_of_a_request_has_each_field_once(caplog):
    caplog.set_level("INFO")
    log_request({"request_id": "some-id", "status": "OK", "rows": None}, has_failed=False)
    log_request({"request_id": "some-id", "reason": "not_found"}, has_failed=True)
    lines = [log_formatter("json", has_process=False).format(each) for each in caplog.records]
    assert [line.count("some-id") for line in lines] == [1, 1]
    assert [json.loads(line)["message"] for line in lines] == ["request answered", "request refused"]
    assert json.loads(lines[0])["status"] == "OK"


def test_json_log_has_one_object_per_line():
    said = log_formatter("json", has_process=False).format(record('"a"\n%s', "ü", error=ValueError("x")))
    assert "\n" not in said
    line = json.loads(said)
    assert (line["level"], line["process"], line["logger"]) == ("WARNING", os.getpid(), "rnnserve.some")
    assert line["message"] == '"a"\nü'
    assert "ValueError: x" in line["traceback"]
    assert dt.datetime.fromisoformat(line["time"]).tzinfo is not None
