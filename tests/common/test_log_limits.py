"""The log grows no faster than it may, and says what it left out."""

import logging

import pytest

from rnnserve.common.log_format import LogLimits


class Lines(logging.Handler):
    """Keeps what is logged."""

    def __init__(self, lines):
        super().__init__()
        self._lines = lines

    def emit(self, record):
        self._lines.append(record.getMessage())


@pytest.fixture
def seconds():
    return [0.0]


@pytest.fixture
def logged(seconds):
    """Lines that pass the limits."""
    lines = []
    handler = Lines(lines)
    handler.addFilter(LogLimits(lambda: seconds[0]))
    log = logging.getLogger("limited")
    log.propagate = False
    log.addHandler(handler)
    yield log, lines
    log.removeHandler(handler)


def test_lines_of_one_kind_are_one_a_second_after_some(logged, seconds):
    log, lines = logged
    for second in range(4):
        seconds[0] = float(second)
        for number in range(100):
            log.error("failure %d", number)
    assert lines[:20] == [f"failure {number}" for number in range(20)]
    assert lines[20:] == [
        "failure 0 (80 similar lines left out)",
        "failure 0 (99 similar lines left out)",
        "failure 0 (99 similar lines left out)",
    ]


def test_other_lines_are_not_left_out(logged):
    log, lines = logged
    for _ in range(100):
        log.error("often")
    log.error("once")
    assert lines == ["often"] * 20 + ["once"]


def test_after_a_quiet_time_there_may_be_many_again(logged, seconds):
    log, lines = logged
    for second in (0.0, 1000.0):
        seconds[0] = second
        for _ in range(25):
            log.error("often")
    assert len(lines) == 40
    assert lines[20] == "often (5 similar lines left out)"


def test_the_lines_of_versions_have_a_limit_too():
    """A repository that is polled, and a client that loads a damaged model again and again, cause any number."""
    limits = LogLimits(lambda: 0.0)
    record = logging.makeLogRecord({"name": "rnnserve.server.repository.loader", "pathname": "x", "lineno": 1})
    assert sum(limits.filter(record) for _ in range(5000)) == 1000
