"""Durations and rates as people write and read them."""

import re

from rnnserve.client.errors import InvalidRequest

__all__ = ["duration_text", "parse_duration", "rate_text"]

_NANOSECONDS = {"us": 1e3, "µs": 1e3, "ms": 1e6, "s": 1e9}
_DURATION = re.compile(r"(?P<number>[0-9]*\.?[0-9]+)\s*(?P<unit>us|µs|ms|s)")


def parse_duration(text: str) -> int:
    """Return nanoseconds.

    Args:
        text: `"500us"`, `"5ms"`, `"0.2s"`.

    Raises:
        InvalidRequest: No number above 0, or no unit.
    """
    parts = _DURATION.fullmatch(text.strip())
    nanoseconds = round(float(parts["number"]) * _NANOSECONDS[parts["unit"]]) if parts else 0
    if nanoseconds < 1:
        raise InvalidRequest(f"{text!r} is no duration above 0. Expected a number and its unit: 500us, 5ms, 0.2s")
    return nanoseconds


def duration_text(nanoseconds: float) -> str:
    """Return a duration with three significant digits."""
    for unit, size in (("s", 1e9), ("ms", 1e6)):
        if nanoseconds >= 0.9995 * size:
            return f"{_three_digits(nanoseconds / size)} {unit}"
    return f"{_three_digits(nanoseconds / 1e3)} µs"


def rate_text(rate: float) -> str:
    """Return a rate, a second left out: `"1,200"`, `"2.5"`."""
    return f"{rate:,.0f}" if rate >= 100 or rate == round(rate) else f"{rate:.1f}"


def _three_digits(value: float) -> str:
    if value >= 99.95:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 9.995 else f"{value:.2f}"
