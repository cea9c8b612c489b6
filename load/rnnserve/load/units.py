"""Durations and rates as text that people write and read."""

import re

from rnnserve.client import InvalidRequest

__all__ = ["format_confidence", "format_duration", "format_rate", "parse_duration", "parse_think_time"]

_NANOSECONDS = {"us": 1e3, "µs": 1e3, "ms": 1e6, "s": 1e9}
_DURATION = re.compile(r"(?P<number>[0-9]*\.?[0-9]+)\s*(?P<unit>us|µs|ms|s)")


def parse_duration(text: str) -> int:
    """Return a duration in nanoseconds.

    Args:
        text: `"500us"`, `"5ms"`, `"0.2s"`.

    Raises:
        InvalidRequest: The number is not above 0, or the unit is missing.
    """
    match = _DURATION.fullmatch(text.strip())
    nanoseconds = round(float(match["number"]) * _NANOSECONDS[match["unit"]]) if match else 0
    if nanoseconds < 1:
        raise InvalidRequest(f"{text!r} is not a duration above 0. Expected a number with its unit: 500us, 5ms, 0.2s")
    return nanoseconds


def parse_think_time(text: str) -> float:
    """Return a duration in seconds, which may be 0.

    Raises:
        InvalidRequest: The unit is missing, or it is below 0.
    """
    return 0.0 if text.strip() == "0" else parse_duration(text) / 1e9


def format_duration(nanoseconds: float) -> str:
    """Return a duration with three significant digits: `"1.23 ms"`."""
    for unit, size in (("s", 1e9), ("ms", 1e6)):
        if nanoseconds >= 0.9995 * size:
            return f"{_three_digits(nanoseconds / size)} {unit}"
    return f"{_three_digits(nanoseconds / 1e3)} µs"


def format_rate(rate: float) -> str:
    """Return a rate per second, without its unit: `"1,200"`, `"2.5"`."""
    return f"{rate:,.0f}" if rate >= 100 or rate == round(rate) else f"{rate:.1f}"


def format_confidence(confidence: float) -> str:
    """Return a probability as text: `"99% confidence"`."""
    return f"{100 * confidence:.6g}% confidence"


def _three_digits(value: float) -> str:
    if value >= 99.95:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 9.995 else f"{value:.2f}"
