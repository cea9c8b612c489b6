"""The log grows at a limited rate, and reports the lines that it leaves out."""

import logging

import pytest

from rnnserve.common.log_lines import LogLimits


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


def test_repeated_lines_are_limited_to_one_a_second(logged, seconds):
    log, lines = logged
    for second in range(4):
        seconds[0] = float(second)
        for number in range(1080):
            log.error("failure %d", number)
    assert lines[:1000] == [f"failure {number}" for number in range(1000)]
    assert lines[1000:] == [
        "failure 0 (80 similar lines left out)",
        "failure 0 (1,079 similar lines left out)",
        "failure 0 (1,079 similar lines left out)",
    ]


def test_limit_resets_after_a_quiet_time(logged, seconds):
    log, lines = logged
    for second in (0.0, 2000.0):
        seconds[0] = second
        for _ in range(1005):
            log.error("often")
    assert len(lines) == 2000
    assert lines[1000] == "often (5 similar lines left out)"
